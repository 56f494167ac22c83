"""HTTP servers that misbehave."""

import contextlib
import gzip
import http.server
import socket
import threading

from edeposit.amqp.aleph import settings


@contextlib.contextmanager
def server(reply, **limits):
    """Every request is answered by ``reply(handler, number of the request)``.

    Reading and export are led to it, with short time-outs.

    Yields:
        the (method, path, headers) of the requests.
    """
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            requests.append((self.command, self.path, dict(self.headers)))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with contextlib.suppress(OSError):
                reply(self, len(requests))

        do_POST = do_GET

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{httpd.server_port}"
    settings.substitute_globals(
        {
            "ALEPH_URL": url,
            "ALEPH_EXPORT_URL": f"{url}/form",
            "ALEPH_READ_TIMEOUT": 0.5,
            "ALEPH_TOTAL_TIMEOUT": 2.0,
            "ALEPH_RETRIES": 1,
            **limits,
        }
    )
    try:
        yield requests
    finally:
        httpd.shutdown()
        httpd.server_close()


def send(handler, body, status=200, kind="text/xml", length=None, **headers):
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


# --- replies that never become one ----------------------------------------------------------

_stopped = threading.Event()  # is never set: its wait is a pause


def never(handler, _number):
    _stopped.wait(5)


def cut(handler, _number):
    send(handler, b"<find>", length=100)
    handler.close_connection = True


def gone(handler, _number):
    handler.connection.shutdown(socket.SHUT_RDWR)


def drip_headers(handler, _number):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        handler.wfile.write(b"X-%d: x\r\n" % number)
        handler.wfile.flush()
        _stopped.wait(0.05)


def drip_body(handler, _number):
    send(handler, b"", length=10**6)
    for _ in range(200):
        handler.wfile.write(b"<")
        handler.wfile.flush()
        _stopped.wait(0.05)


def endless(handler, _number):
    send(handler, b"<find>", length=10**12)
    while True:
        handler.wfile.write(b"x" * 100_000)


_BOMB = gzip.compress(b"\0" * 50_000_000)


def compressed(handler, _number):
    send(handler, _BOMB, Content_Encoding="gzip")


NO_REPLY = [never, cut, gone, drip_headers, drip_body, endless, compressed]
