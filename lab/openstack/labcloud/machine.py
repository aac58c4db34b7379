"""The machine runtime, as the Nova driver sees it: one command line with a verb and a machine's id."""

import json
import os
import shlex
import subprocess
import threading
import time

from nova.exception import NovaException

FRESH_S = 1.0
BOOT_LIMIT_S = 60.0
SHUTDOWN_LIMIT_S = 60.0
LIMIT_S = 30.0


class RuntimeFailed(NovaException):
    """A verb failed; the text is the runtime's own last words. Of others' exceptions Nova tells the name."""


class Runtime:
    """Runs the verbs. States are read for all machines at once and are at most ``FRESH_S`` old."""

    def __init__(self, command: str) -> None:
        """``command`` is in shell words."""
        self._command = shlex.split(command)
        # It may belong to another interpreter: what finds our modules must not be what finds its own.
        self._environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._read_at = float("-inf")

    def define(self, specification: dict[str, object]) -> None:
        """Make the machine, or change what it is made of; it does not start."""
        self._change(["define"], stdin=json.dumps(specification))

    def boot(self, machine: str) -> None:
        self._change(["boot", machine], limit_s=BOOT_LIMIT_S)

    def halt(self, machine: str) -> None:
        """Cut its power."""
        self._change(["halt", machine])

    def shutdown(self, machine: str) -> None:
        """Ask it to end by itself; the runtime cuts its power when that takes too long."""
        self._change(["shutdown", machine], limit_s=SHUTDOWN_LIMIT_S)

    def suspend(self, machine: str) -> None:
        self._change(["suspend", machine])

    def resume(self, machine: str) -> None:
        self._change(["resume", machine])

    def delete(self, machine: str) -> None:
        self._change(["delete", machine])

    def states(self) -> dict[str, str]:
        """The state of every machine by its id: ``running``, ``suspended``, or another word for off."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH_S:
                asked_at = time.monotonic()
                listed = json.loads(self._run(["list"]))
                self._states = {machine["id"]: machine["state"] for machine in listed}
                self._read_at = asked_at
            return self._states

    def _change(self, arguments: list[str], *, stdin: str = "", limit_s: float = LIMIT_S) -> None:
        try:
            self._run(arguments, stdin=stdin, limit_s=limit_s)
        finally:
            with self._lock:
                self._read_at = float("-inf")

    def _run(self, arguments: list[str], *, stdin: str = "", limit_s: float = LIMIT_S) -> str:
        verb = arguments[0]
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
                env=self._environment,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeFailed(f"{verb}: {error}") from error
        if done.returncode != 0:
            last_words = done.stderr.strip() or f"exit status {done.returncode}"
            raise RuntimeFailed(f"{verb}: {last_words}")
        return done.stdout
