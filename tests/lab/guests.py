"""Machines under test, and the command lines that tests type."""

import contextlib
import os
import select
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dcctl.errors import DcctlError
from dcctl.lab import machine, operator
from dcctl.lab.paths import NAMESPACES, OPERATOR, PLACES

BOOT_LIMIT_S = 30


def dcctl(*arguments: str, check: bool = False, limit_s: float = 120) -> "subprocess.CompletedProcess[str]":
    """The command line as an operator types it."""
    argv = [sys.executable, "-m", "dcctl.cli.main", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=limit_s, check=False)
    if check and done.returncode != 0:
        pytest.fail(
            f"`dcctl {' '.join(arguments)}` ended with {done.returncode}:\n{done.stderr}", pytrace=False
        )
    return done


def runtime(verb: str, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """The machine runtime as the clouds call it."""
    argv = [sys.executable, "-m", "dcctl.lab.machine", verb, *arguments]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def inside(namespace: str, *argv: str) -> list[str]:
    """A command line that runs in a network namespace."""
    return ["nsenter", f"--net={NAMESPACES / namespace}", *argv]


def eventually(true: Callable[[], object], *, limit_s: float, every_s: float = 0.05) -> bool:
    """Whether it became true within the limit."""
    until = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(every_s)
    return True


def specification(name: str, place: str, last_octet: int, **more: Any) -> dict[str, Any]:
    """A machine that lets the operator in; addresses from 200 up belong to no configuration."""
    number = PLACES[place].number
    key = (OPERATOR / "id_ed25519.pub").read_text().strip()
    user = (
        f"{{name: dcctl, shell: /bin/bash, sudo: 'ALL=(ALL) NOPASSWD:ALL', ssh_authorized_keys: ['{key}']}}"
    )
    return {
        "id": str(uuid.uuid4()),
        "name": name,
        "hostname": name,
        "place": place,
        "address": f"198.18.{number}.{last_octet}/24",
        "gateway": PLACES[place].gateway,
        "authorized_keys": [key],
        "user_data": f"#cloud-config\nusers: [{user}]\n",
        **more,
    }


@dataclass(frozen=True)
class Guest:
    """A machine under test."""

    spec: machine.Spec

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def address(self) -> str:
        return self.spec.address.split("/")[0]

    def run(self, command: str, *, limit_s: float = 15) -> str:
        done = subprocess.run(
            operator.ssh(self.spec, (command,)), capture_output=True, text=True, timeout=limit_s, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def is_answering(self) -> bool:
        try:
            argv = operator.ssh(self.spec, ("true",))
        except DcctlError:
            return False
        return subprocess.run(argv, capture_output=True, timeout=15, check=False).returncode == 0

    def boot(self) -> None:
        machine.boot(self.id)
        assert eventually(self.is_answering, limit_s=BOOT_LIMIT_S)

    @contextlib.contextmanager
    def ticking(self) -> Iterator["Ticks"]:
        """A connection that is open and says something twenty times a second."""
        argv = operator.ssh(self.spec, ("while echo tick; do sleep 0.05; done",))
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                yield Ticks(process)
            finally:
                process.kill()


@dataclass(frozen=True)
class Ticks:
    process: "subprocess.Popen[bytes]"

    def heard(self, *, within_s: float) -> bool:
        """Whether another tick arrives in time; what had arrived before does not count."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while select.select([descriptor], [], [], 0)[0] and os.read(descriptor, 65536):
            pass
        ready, _, _ = select.select([descriptor], [], [], within_s)
        return bool(ready) and bool(os.read(descriptor, 65536))
