"""
http.server over TLS, a thread a connection, nothing but the standard library: python3 https_plain.py SOCKET CERTIFICATE KEY
"""

from __future__ import annotations

import signal
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sni_handoff import Listener


class Handler(BaseHTTPRequestHandler):
    timeout = 10  # Seconds for the handshake, and for each wait for the client.

    def do_GET(self) -> None:
        host, port = self.client_address[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        body = f"hello from python: {address}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the requests that are open.

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go, or fail at their handshake, are no errors of the server."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: https_plain.py SOCKET CERTIFICATE KEY")
    path, certificate, key = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    listener: Any = Listener(path, ssl_context=context)
    server.socket = listener

    def stop() -> None:
        listener.drain()
        server.shutdown()

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop).start())
    print(f"listening on {listener.path}", flush=True)
    server.serve_forever()
    server.server_close()
