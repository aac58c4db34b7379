"""Serving a WSGI application over TLS, one thread per connection."""

import socket
import socketserver
import ssl
import sys
from typing import Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

HANDSHAKE_LIMIT_S = 10
IDLE_LIMIT_S = 120


def serve(application: Any, address: str, port: int, context: ssl.SSLContext) -> None:
    """Serve for ever. A client that vanishes, at whatever moment, costs one thread until its limit."""
    Server(address, port, application, context).serve_forever()


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_LIMIT_S

    def log(self, type: str, message: str, *args: Any) -> None:
        """The services write access logs of their own."""


class Server(ThreadedWSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, port: int, application: Any, context: ssl.SSLContext) -> None:
        super().__init__(address, port, application, Handler)
        self.ssl_context = context  # set late: werkzeug would shake hands in the thread that accepts

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread, so that a silent client holds up nobody else."""
        request.settimeout(HANDSHAKE_LIMIT_S)
        try:
            encrypted = self.ssl_context.wrap_socket(request, server_side=True)
        except OSError:
            return
        try:
            super().finish_request(encrypted, client_address)
        finally:
            self.shutdown_request(encrypted)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is the client's affair; everything else is worth a line."""
        if not isinstance(sys.exception(), OSError):
            socketserver.BaseServer.handle_error(self, request, client_address)


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def listens(address: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
