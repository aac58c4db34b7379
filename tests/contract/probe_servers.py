"""Servers that behave, and servers that do not, for probes: on loopback, gone when left."""

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Handler = Callable[[socket.socket], None]


def hang(connection: socket.socket) -> None:
    """Take everything and say nothing, until the other side goes."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def saying(answer: bytes) -> Handler:
    """Read a request's head, answer with these bytes and hang up."""

    def handler(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(answer)

    return handler


def http(
    body: str = "ok", *, status: str = "200 OK", length: int | None = None, headers: str = ""
) -> Handler:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n{headers}"
    return saying(f"{head}Connection: close\r\n\r\n{body}".encode())


def without_end(connection: socket.socket) -> None:
    """A body that never ends."""
    with contextlib.suppress(OSError):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)


@contextlib.contextmanager
def serving(handler: Handler, *, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that gives each connection to ``handler`` in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(connection):
            if context is None:
                handler(connection)
            else:
                with context.wrap_socket(connection, server_side=True) as wrapped:
                    handler(wrapped)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_ones.append(connection)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_ones:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Authority:
    """A certificate authority of one test, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority in {folder.name}")])
        days = timedelta(days=3650)
        certificate = (
            self._builder(self._name, self._key.public_key(), datetime.now(UTC), datetime.now(UTC) + days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = str(folder / "ca.pem")
        Path(self.file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *, valid: timedelta, address: str = "127.0.0.1") -> ssl.SSLContext:
        """A server's context with a certificate for ``address``, valid until ``valid`` from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        ends = datetime.now(UTC) + valid
        began = min(datetime.now(UTC), ends) - timedelta(days=1)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = (
            self._builder(name, key.public_key(), began, ends)
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._folder / "server.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, began: datetime, ends: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(began - timedelta(minutes=1))
            .not_valid_after(ends)
        )
