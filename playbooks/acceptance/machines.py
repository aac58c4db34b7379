"""Which machines there are and how the checks look into them."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 15.0
"""What follows from a change on its own, within seconds, may still be under way."""


@dataclass(frozen=True)
class Machine:
    """One machine of the environment."""

    name: str
    address: str
    place: str
    roles: tuple[str, ...]


_GIVEN = json.loads(Path(os.environ["DCCTL_MACHINES"]).read_text(encoding="utf-8"))
ENVIRONMENT: str = _GIVEN["environment"]
MACHINES = tuple(Machine(**{**machine, "roles": tuple(machine["roles"])}) for machine in _GIVEN["machines"])


def with_role(role: str) -> tuple[Machine, ...]:
    """All machines of a role, also those that are not looked at now."""
    return tuple(machine for machine in MACHINES if role in machine.roles)


def hosts(role: str) -> list[str]:
    """testinfra's names of the machines of a role that are to be looked at."""
    return [f"ssh://{machine.name}" for machine in with_role(role) if machine.name in _GIVEN["look_at"]]


def this(host: Any) -> Machine:
    """The machine that is looked at."""
    name = host.backend.get_pytest_id().removeprefix("ssh://")
    return next(machine for machine in MACHINES if machine.name == name)


def root(host: Any, command: str, *arguments: str) -> str:
    """What a command prints when root runs it; the check fails when the command does."""
    result = host.run("sudo -n " + command, *arguments)
    assert result.rc == 0, f"`{command}` ended with {result.rc}: {result.stderr.strip()}"
    return str(result.stdout).strip()


def python(host: Any, program: str, *arguments: str) -> str:
    """What a small Python program prints on the machine: every machine has Python, not all have curl."""
    result = host.run("python3 -c %s" + " %s" * len(arguments), program, *arguments)
    assert result.rc == 0, (result.stderr.strip().splitlines() or ["no message"])[-1]
    return str(result.stdout)


_GET = """
import sys, urllib.request, urllib.error
request = urllib.request.Request(sys.argv[2], method=sys.argv[1])
try:
    answer = urllib.request.urlopen(request, timeout=3)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode(), end="")
"""


def http(host: Any, url: str, method: str = "GET") -> tuple[int, str]:
    """Status and body, as seen from the machine."""
    status, _newline, body = python(host, _GET, method, url).partition("\n")
    return int(status), body


_SAY = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as connection:
    connection.sendall(bytes.fromhex(sys.argv[3]))
    answer = b""
    while len(answer) < int(sys.argv[4]) and (more := connection.recv(4096)):
        answer += more
sys.stdout.buffer.write(answer)
"""


def say(host: Any, address: str, port: int, words: bytes, *, at_most: int = 65536) -> str:
    """What a server answers to ``words`` on a plain socket, as seen from the machine."""
    return python(host, _SAY, address, str(port), words.hex(), str(at_most))


def is_kept_running(host: Any, service: str) -> None:
    """The service runs, and will after a reboot."""
    states = root(host, f"systemctl is-active {service}; systemctl is-enabled {service}").split()
    assert states == ["active", "enabled"], f"{service} is {' and '.join(states)}"


def eventually(holds: Callable[[], None]) -> None:
    """``holds`` without an AssertionError, within PATIENCE_S."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            return holds()
        except AssertionError:
            if time.monotonic() >= ends:
                raise
        time.sleep(0.5)
