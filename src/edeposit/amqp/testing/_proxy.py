"""A TCP proxy for faults: cut, stalled, delayed and refused connections."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path

# SO_LINGER with time 0: close() sends RST, as a dying router or a killed host does.
_RESET = struct.pack("ii", 1, 0)
_CHUNK = 64 * 1024


class Proxy:
    """Forwards connections to a server until it is told to misbehave; a context manager.

    Args:
        host, port: of the server.
        certificate: certificate and key file: speak TLS with the client (not with the server).
        client_ca: demand a certificate of the client that this authority has signed.
        tls_version: the highest TLS version to speak.

    Attributes:
        port: where the proxy listens, on 127.0.0.1.
    """

    def __init__(
        self,
        host: str,
        port: int,
        certificate: tuple[Path, Path] | None = None,
        *,
        client_ca: Path | None = None,
        tls_version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    ) -> None:
        self._target = (host, port)
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
            self._context.maximum_version = tls_version
            if client_ca is not None:
                self._context.verify_mode = ssl.CERT_REQUIRED
                self._context.load_verify_locations(client_ca)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._stalled: set[str] = set()
        self._delay = 0.0
        self._refusing = False
        self._closed = False
        threading.Thread(target=self._accept, name="fault-proxy", daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- faults -----------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset all connections."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _reset(pair)

    def stall(self, direction: str = "both") -> None:
        """Swallow bytes: ``up`` (to the server), ``down`` (to the client) or ``both``."""
        self._stalled = {"up", "down"} if direction == "both" else {direction}

    def resume(self) -> None:
        """Forward again; what was swallowed is lost, so ``cut()`` should follow."""
        self._stalled = set()

    def delay(self, seconds: float) -> None:
        """Hold every chunk back for so long."""
        self._delay = seconds

    def refuse(self) -> None:
        """Reset new connections at once."""
        self._refusing = True

    def accept(self) -> None:
        """Accept new connections again."""
        self._refusing = False

    def close(self) -> None:
        """Stop listening and reset everything."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    # --- inside -----------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                _reset((client,))
            else:
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            server = socket.create_connection(self._target, timeout=10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        pair = (client, server)
        with self._lock:
            self._pairs.append(pair)
        up = threading.Thread(target=self._pump, args=(client, server, "up"), daemon=True)
        up.start()
        self._pump(server, client, "down")
        up.join()
        with self._lock:
            if pair in self._pairs:
                self._pairs.remove(pair)
        for sock in pair:
            sock.close()

    def _pump(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := source.recv(_CHUNK):
                if self._delay:
                    time.sleep(self._delay)
                if direction not in self._stalled:
                    target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _reset(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()
