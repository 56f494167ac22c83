"""A web server on 127.0.0.1 that serves many hosts, told apart by the ``Host`` header."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class SeenRequest(NamedTuple):
    """A request that came.

    Attributes:
        host: asked for.
        path: with query.
        headers: by lower-case name.
        time: monotonic seconds.
    """

    host: str
    path: str
    headers: dict[str, str]
    time: float


Answer = bytes | tuple[int, Mapping[str, str], bytes] | Callable[[BaseHTTPRequestHandler], None]


class SiteServer:
    """Serves pages; a context manager.

    Args:
        hosts: host to path (with query) to answer: bytes of a page; status, headers and body; or a
            function that writes to the handler itself. ``/robots.txt`` is 404 if not given.
        latency: seconds before each answer.

    Attributes:
        port: on 127.0.0.1.
        hosts: may be changed while it runs.
        requests: what has come (list of ``SeenRequest``).
    """

    def __init__(self, hosts: Mapping[str, dict[str, Answer]], latency: float = 0.0) -> None:
        self.hosts = {host: dict(pages) for host, pages in hosts.items()}
        self.latency = latency
        self.requests: list[SeenRequest] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.site = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    def __enter__(self) -> "SiteServer":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Its address, whatever host it plays."""
        return f"http://127.0.0.1:{self.port}"

    def env(self) -> dict[str, str]:
        """Environment variables that lead the harvester here."""
        players = dict.fromkeys(self.hosts, self.url)
        return {"HARVESTER_BASE_URLS": json.dumps(players), "HARVESTER_DELAY": "0"}

    def paths(self, host: str) -> list[str]:
        """What was asked of a host, robots.txt aside, in order."""
        return [
            seen.path for seen in self.requests if seen.host == host and seen.path != "/robots.txt"
        ]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    site: SiteServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnects is not an error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in one packet, else Nagle's algorithm adds 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        site = self.server.site
        host = self.headers.get("Host", "")
        headers = {name.lower(): value for name, value in self.headers.items()}
        site.requests.append(SeenRequest(host, self.path, headers, time.monotonic()))
        if site.latency:
            time.sleep(site.latency)
        answer = site.hosts.get(host, {}).get(self.path, (404, {}, b"not found"))
        if callable(answer):
            answer(self)
            return
        status, more, body = (200, {}, answer) if isinstance(answer, bytes) else answer
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", **more}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""
