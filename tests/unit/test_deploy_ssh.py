"""The SSH adapter against a server of paramiko's own, on loopback."""

import contextlib
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
import pytest

from dcctl.adapters.host_keys import generate_host_key
from dcctl.adapters.ssh import SshRemote
from dcctl.domain.inventory import Login
from dcctl.domain.known_hosts import KnownHost, render
from dcctl.errors import CredentialsRefused, TimedOut, Unreachable


class Shell(paramiko.ServerInterface):
    """Lets one key in and runs what it is told with the local shell."""

    def __init__(self, allowed: paramiko.PKey) -> None:
        self._allowed = allowed

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002  # paramiko's
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:  # noqa: ARG002  # paramiko's
        return paramiko.AUTH_SUCCESSFUL if key == self._allowed else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002  # paramiko's
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_serve, args=(channel, command.decode()), daemon=True).start()
        return True


def _serve(channel: paramiko.Channel, command: str) -> None:
    if "lose the connection" in command:
        transport = channel.get_transport()
        transport.close()
        return
    with subprocess.Popen(
        shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        out, err = process.communicate(channel.makefile("rb").read())
    with contextlib.suppress(OSError):  # the client did not wait
        channel.sendall(out)
        channel.sendall_stderr(err)
        channel.send_exit_status(process.returncode)
        channel.close()


@dataclass
class World:
    """A server on ``port``; ``login`` is ours."""

    login: Login
    port: int
    known_hosts: Path
    logins: list[paramiko.Transport] = field(default_factory=list)

    def remote(self) -> SshRemote:
        return SshRemote("east-db-1", "127.0.0.1", self.login)

    def record(self, host_key: str) -> None:
        self.known_hosts.write_text(render([KnownHost("east-db-1", "127.0.0.1", self.port, host_key)]))


def private_key(folder: Path, name: str) -> tuple[Path, str]:
    pair = generate_host_key()
    path = folder / name
    path.write_text(pair.private)
    return path, pair.public


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    ours, _public = private_key(tmp_path, "id")
    theirs, host_key = private_key(tmp_path, "host")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    made = World(
        Login("dcctl", port, str(ours), str(tmp_path / "known_hosts")), port, tmp_path / "known_hosts"
    )
    made.record(host_key)

    def accept() -> None:
        while True:
            try:
                connection, _peer = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(theirs)))
            made.logins.append(transport)
            try:
                transport.start_server(server=Shell(paramiko.Ed25519Key.from_private_key_file(str(ours))))
            except (paramiko.SSHException, EOFError, OSError):
                transport.close()  # the client did not like our host key

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield made
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(timeout=5)
    for transport in made.logins:
        transport.close()


def test_status_and_both_outputs_are_told_apart(world: World) -> None:
    argv = ("sh", "-c", "echo out; echo err >&2; exit 3")
    assert world.remote().run(argv, limit_s=10) == (3, "out\n", "err\n")


def test_arguments_arrive_as_they_are(world: World) -> None:
    argument = "a b'c\"d $HOME * \\ ;&|"
    assert world.remote().run(("printf", "%s", argument), limit_s=10) == (0, argument, "")


def test_standard_input_larger_than_a_window_comes_back_whole(world: World) -> None:
    text = "0123456789abcdef" * 400_000
    status, out, _err = world.remote().run(("cat",), limit_s=30, stdin=text)
    assert (status, out == text) == (0, True)


def test_a_command_that_does_not_end_is_given_up(world: World) -> None:
    began = time.monotonic()
    with pytest.raises(TimedOut, match="run sleep on east-db-1: it has not ended"):
        world.remote().run(("sleep", "4"), limit_s=0.7)
    assert time.monotonic() - began < 2


def test_one_connection_serves_many_commands(world: World) -> None:
    with world.remote() as remote:
        assert [remote.run(("echo", word), limit_s=5)[1] for word in ("a", "b", "c")] == ["a\n", "b\n", "c\n"]
    assert len(world.logins) == 1


def test_another_host_key_than_the_recorded_one_is_refused(world: World) -> None:
    world.record(generate_host_key().public)
    with pytest.raises(CredentialsRefused, match="its host key is not the recorded one: it shows SHA256"):
        world.remote().run(("true",), limit_s=5)


def test_a_host_without_a_recorded_key_is_not_even_asked(world: World) -> None:
    world.known_hosts.write_text("")
    with pytest.raises(CredentialsRefused, match=r"no host key of 127\.0\.0\.1 is recorded") as caught:
        world.remote().run(("true",), limit_s=5)
    assert (world.logins, caught.value.next_command) == ([], "dcctl provision apply")


def test_a_key_that_is_not_authorized_is_refused(world: World, tmp_path: Path) -> None:
    other, _public = private_key(tmp_path, "other")
    remote = SshRemote(
        "east-db-1", "127.0.0.1", Login("dcctl", world.port, str(other), str(world.known_hosts))
    )
    with pytest.raises(CredentialsRefused, match="dcctl may not log in"):
        remote.run(("true",), limit_s=5)


def test_a_lost_connection_is_no_answer(world: World) -> None:
    with pytest.raises(Unreachable, match="the connection was lost; whether it took effect is unknown"):
        world.remote().run(("lose the connection",), limit_s=5)


def test_nobody_listening_is_unreachable(world: World, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    world.known_hosts.write_text(render([KnownHost("x", "127.0.0.1", port, generate_host_key().public)]))
    remote = SshRemote(
        "x", "127.0.0.1", Login("dcctl", port, world.login.private_key_file, str(world.known_hosts))
    )
    with pytest.raises(Unreachable, match=f"run true on x: 127.0.0.1:{port}: Connection refused"):
        remote.run(("true",), limit_s=5)


def test_a_machine_that_says_nothing_times_out(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        world.known_hosts.write_text(render([KnownHost("x", "127.0.0.1", port, generate_host_key().public)]))
        login = Login("dcctl", port, world.login.private_key_file, str(world.known_hosts))
        with pytest.raises(Unreachable, match="run true on x"):
            SshRemote("x", "127.0.0.1", login).run(("true",), limit_s=0.5)


def test_a_missing_private_key_is_said(world: World, tmp_path: Path) -> None:
    login = Login("dcctl", world.port, str(tmp_path / "absent"), str(world.known_hosts))
    with pytest.raises(Unreachable, match="absent"):
        SshRemote("east-db-1", "127.0.0.1", login).run(("true",), limit_s=5)
