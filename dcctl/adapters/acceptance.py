"""``ports.Acceptance`` with testinfra: the checks of ``playbooks/acceptance``, over ssh.

They run in a process of their own, because pytest takes over whatever process it runs in. testinfra's ssh
backend uses the connections that Ansible opened; its paramiko backend would only warn of an unknown host
key.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dcctl.domain.deploy import Finding, Target
from dcctl.errors import Interrupted, Rejected, TimedOut

ASK_S = 0.1
"""How often new findings, and whether to end, are looked for."""

GRACE_S = 5.0
"""From asking the checks to end until they are killed."""

PASSED_ON = ("PATH", "HOME", "SSH_AUTH_SOCK")
"""What the checks inherit of our environment."""


class TestinfraAcceptance:
    """The checks in ``folder``; ``workspace`` (0700, in memory) is for what they are told and tell."""

    def __init__(
        self, *, folder: Path, workspace: Path, ssh_config: Path, environment: str, machines: Sequence[Target]
    ) -> None:
        self._folder = folder
        self._workspace = workspace
        self._ssh_config = ssh_config
        self._environment = environment
        self._machines = machines

    def examine(
        self,
        names: Sequence[str],
        roles: Sequence[str],
        *,
        limit_s: float,
        seen: Callable[[Finding], None],
        asked_to_end: Callable[[], bool],
    ) -> tuple[Finding, ...]:
        tried = "examine the machines"
        given, found = self._workspace / "machines.json", self._workspace / "findings.jsonl"
        given.write_text(json.dumps(self._told(names)), encoding="utf-8")
        found.write_text("", encoding="utf-8")
        files = [path for role in roles if (path := self._folder / f"test_{role}.py").exists()]
        output = self._workspace / "pytest.txt"
        ends = time.monotonic() + limit_s
        findings: list[Finding] = []
        with (
            output.open("w", encoding="utf-8") as log,
            self._started(files, given, found, log.fileno()) as process,
        ):
            try:
                while True:
                    ended = process.poll() is not None
                    for finding in _read(found)[len(findings) :]:
                        findings.append(finding)
                        seen(finding)
                    if ended:
                        break
                    if asked_to_end():
                        raise Interrupted(tried, saw=f"after {len(findings)} checks")
                    if time.monotonic() >= ends:
                        raise TimedOut(tried, saw=f"{len(findings)} checks in {limit_s:g} s")
                    time.sleep(ASK_S)
            finally:
                _end(process)
        if process.returncode not in (0, 1):
            lines = output.read_text(encoding="utf-8").strip().splitlines()
            raise Rejected(tried, saw="; ".join(lines[-3:]) or f"pytest ended with {process.returncode}")
        return tuple(findings)

    def _told(self, names: Sequence[str]) -> dict[str, object]:
        machines = [
            {"name": each.name, "address": each.address, "place": each.place, "roles": each.roles}
            for each in self._machines
        ]
        return {"environment": self._environment, "machines": machines, "look_at": list(names)}

    def _started(
        self, files: Sequence[Path], given: Path, found: Path, log: int
    ) -> "subprocess.Popen[bytes]":
        arguments = ["-p", "testinfra.plugin", "--ssh-config", str(self._ssh_config)]
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pytest",
                "-c",
                str(self._folder / "pytest.ini"),
                *arguments,
                *map(str, files),
            ],
            cwd=self._workspace,
            env={
                **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
                "LC_ALL": "C.UTF-8",
                "DCCTL_MACHINES": str(given),
                "DCCTL_FINDINGS": str(found),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C in a terminal is for us; we end it.
            start_new_session=True,
        )


def _read(found: Path) -> list[Finding]:
    """The findings so far; a line that is being written is left for the next look."""
    text = found.read_text(encoding="utf-8")
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [Finding(**json.loads(line)) for line in lines]


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
