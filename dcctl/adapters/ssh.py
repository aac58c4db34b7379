"""``ports.Remote`` with paramiko: for what must be quick, or must happen when Ansible is too slow.

The machine's host key must be the one recorded at provisioning; anything else ends before a password, a
command or a secret is sent. There is no first trust.
"""

import contextlib
import shlex
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import paramiko

from dcctl.domain.inventory import Login
from dcctl.errors import CredentialsRefused, DcctlError, TimedOut, Unreachable

CONNECT_S = 5.0
"""For a connection and a login; a call with a shorter limit has that."""

READ_S = 0.2
"""How long one read waits before the time limit is looked at."""

POLL_S = 0.005
"""Between looks at a command that is silent."""

NOT_ENDED = "it has not ended; whether it took effect is unknown"
BY_SIGNAL = -1
"""The status of a command that a signal ended."""

CHUNK = 32768
SSH_PORT = 22


class SshRemote:
    """One machine. Each ``run`` has a connection of its own; inside ``with`` they share one."""

    def __init__(self, name: str, address: str, login: Login) -> None:
        self._name = name
        self._address = address
        self._login = login
        self._kept: paramiko.SSHClient | None = None

    def __enter__(self) -> "SshRemote":
        self._kept = self._connected(f"log in as {self._login.user}", CONNECT_S)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def run(self, argv: Sequence[str], *, limit_s: float, stdin: str = "") -> tuple[int, str, str]:
        tried = f"run {argv[0]}"
        ends = time.monotonic() + limit_s
        with self._told(tried), self._client(tried, min(limit_s, CONNECT_S)) as client:
            transport = client.get_transport()
            if transport is None:
                raise EOFError
            with _closed_after(transport, ends):
                channel = transport.open_session(timeout=max(ends - time.monotonic(), READ_S))
                with contextlib.closing(channel):
                    channel.settimeout(READ_S)
                    channel.exec_command(shlex.join(argv))
                    _send(channel, stdin.encode(), ends)
                    return _received(channel, transport, ends)

    @contextlib.contextmanager
    def _client(self, tried: str, limit_s: float) -> Iterator[paramiko.SSHClient]:
        if self._kept is not None:
            yield self._kept
            return
        client = self._connected(tried, limit_s)
        try:
            yield client
        finally:
            client.close()

    def _connected(self, tried: str, limit_s: float) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            with self._told(tried):
                client.load_host_keys(self._login.known_hosts_file)
                self._must_be_known(tried, client)
                client.connect(
                    self._address,
                    port=self._login.port,
                    username=self._login.user,
                    key_filename=self._login.private_key_file,
                    timeout=limit_s,
                    banner_timeout=limit_s,
                    auth_timeout=limit_s,
                    channel_timeout=limit_s,
                    allow_agent=False,
                    look_for_keys=False,
                )
        except BaseException:
            client.close()
            raise
        return client

    def _must_be_known(self, tried: str, client: paramiko.SSHClient) -> None:
        port = self._login.port
        pattern = self._address if port == SSH_PORT else f"[{self._address}]:{port}"
        if client.get_host_keys().lookup(pattern) is None:
            raise CredentialsRefused(
                tried,
                on=self._name,
                saw=f"no host key of {self._address} is recorded in {self._login.known_hosts_file}",
                next_command="dcctl provision apply",
            )

    @contextlib.contextmanager
    def _told(self, tried: str) -> Iterator[None]:
        """Vendor errors as ours, with the machine and what was tried."""
        try:
            yield
        except DcctlError:
            raise
        except paramiko.BadHostKeyException as error:
            raise CredentialsRefused(
                tried,
                on=self._name,
                saw=f"its host key is not the recorded one: it shows {error.key.fingerprint}, "
                f"recorded is {error.expected_key.fingerprint}",
            ) from error
        except paramiko.AuthenticationException as error:
            raise CredentialsRefused(
                tried, on=self._name, saw=f"{self._login.user} may not log in: {error}"
            ) from error
        except TimeoutError as error:
            raise TimedOut(tried, on=self._name, saw=str(error) or "no answer") from error
        except paramiko.ssh_exception.NoValidConnectionsError as error:
            causes = {str(getattr(cause, "strerror", None) or cause) for cause in error.errors.values()}
            raise Unreachable(
                tried, on=self._name, saw=f"{self._address}:{self._login.port}: {', '.join(causes)}"
            ) from error
        except EOFError as error:
            raise Unreachable(
                tried, on=self._name, saw="the connection was lost; whether it took effect is unknown"
            ) from error
        except (paramiko.SSHException, OSError) as error:
            raise Unreachable(tried, on=self._name, saw=str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _closed_after(transport: paramiko.Transport, ends: float) -> Iterator[None]:
    """paramiko waits without a limit for some answers of a machine that froze; a closed transport ends
    that. The calls here that have limits of their own end a moment earlier."""
    closer = threading.Timer(max(ends - time.monotonic(), 0) + 2 * READ_S, transport.close)
    closer.daemon = True
    closer.start()
    try:
        yield
    except (paramiko.SSHException, OSError, EOFError) as error:
        if time.monotonic() >= ends:
            raise TimeoutError(NOT_ENDED) from error
        raise
    finally:
        closer.cancel()


def _send(channel: paramiko.Channel, content: bytes, ends: float) -> None:
    rest = memoryview(content)
    while rest and not channel.exit_status_ready():
        with contextlib.suppress(socket.timeout):
            rest = rest[channel.send(rest[:CHUNK].tobytes()) :]
        if time.monotonic() >= ends:
            raise TimeoutError("it does not read its input")
    channel.shutdown_write()


def _received(channel: paramiko.Channel, transport: paramiko.Transport, ends: float) -> tuple[int, str, str]:
    """Status and both outputs, read together: a full window of one must not block the other."""
    out, err = bytearray(), bytearray()
    while True:
        # Asked before reading: what arrives between the two is read in the next round.
        ended = channel.closed or (channel.status_event.is_set() and channel.eof_received)
        read = False
        while channel.recv_ready():
            out += channel.recv(CHUNK)
            read = True
        while channel.recv_stderr_ready():
            err += channel.recv_stderr(CHUNK)
            read = True
        if ended and not read:
            if channel.exit_status == BY_SIGNAL and not transport.is_active():
                raise EOFError
            return channel.exit_status, out.decode(errors="replace"), err.decode(errors="replace")
        if time.monotonic() >= ends:
            raise TimeoutError(NOT_ENDED)
        if not read:
            time.sleep(POLL_S)
