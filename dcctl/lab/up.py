"""Bringing the lab up: build what is not cached, start everything, and leave nothing behind on failure."""

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Protocol

from dcctl import __version__
from dcctl.errors import DcctlError, Interrupted, Refused
from dcctl.lab import certificate, clouds, down, host, image, network, operator, witness
from dcctl.lab.paths import (
    API_ADDRESSES,
    BACKBONE,
    LAB,
    NAMESPACES,
    OPERATOR_ADDRESS,
    OPERATOR_NAMESPACE,
    RUN,
    api_namespace,
)
from dcctl.lab.process import end_children

MARK = RUN / "lab.json"
"""Written last: a lab that has it came up whole."""
READY_LIMIT_S = 120.0
CANCEL_LIMIT_S = 3.0
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Progress(Protocol):
    """Where the lab says what it does."""

    def say(self, text: str) -> None: ...
    def phase(self, title: str) -> AbstractContextManager[None]: ...


def bring_up(progress: Progress, *, with_clouds: bool = True) -> None:
    """Bring the lab up; what a killed one left is removed first.

    Without clouds it is the networks, the image, the operator's things and the witness. Raises Refused when
    a lab runs, Unreachable when this host cannot hold one, what a phase raised, or Interrupted; whatever
    way it ends, it is up whole or gone.
    """
    began = time.monotonic()
    host.require_root()
    with exclusive("bring up the lab"), _signals_as_interrupt():
        if is_up():
            raise Refused(
                "bring up the lab",
                reasons=("a lab is running on this host, and one host holds one lab",),
                next_command="dcctl lab status, or: dcctl lab down",
            )
        host.require()
        if down.leftovers():
            with progress.phase("remove what an earlier lab left"):
                down.remove(progress.say)
        sites = tuple(clouds.MODULES) if with_clouds else ()
        try:
            _build(progress, sites)
            _start(progress, sites)
        except BaseException as error:
            _undo(progress, error)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(
                    "bring up the lab", saw="interrupted; what it had made is removed"
                ) from None
            raise
        MARK.write_text(json.dumps(_description(sites)))
        progress.say(f"the lab is up after {time.monotonic() - began:.1f} s")


def take_down(progress: Progress, *, purge: bool = False) -> None:
    """Remove the lab. Raises Refused while it is being brought up, UndoIncomplete when something is left."""
    host.require_root()
    with exclusive("remove the lab"), progress.phase("remove the lab"):
        down.remove(progress.say, purge=purge)


def is_up() -> bool:
    """Whether a lab came up whole and its networks still exist (a reboot of the host ends a lab)."""
    return MARK.exists() and (NAMESPACES / BACKBONE).exists()


def description() -> dict[str, Any]:
    """What was brought up, and when."""
    document: dict[str, Any] = json.loads(MARK.read_text())
    return document


@contextmanager
def exclusive(tried: str) -> Iterator[None]:
    """One ``lab up`` or ``lab down`` at a time. Raises Refused naming the process that is at it."""
    LAB.mkdir(parents=True, exist_ok=True)
    with (LAB / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Refused(
                tried,
                reasons=(f"process {file.read() or 'unknown'} is bringing the lab up or down",),
                next_command="dcctl lab status",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _build(progress: Progress, sites: tuple[str, ...]) -> None:
    """Image and clouds at the same time; cached parts take no time and say nothing."""
    builds: dict[str, Callable[[], None]] = {"image": lambda: image.ensure_built(progress.say)}
    builds |= {
        site: lambda site=site: clouds.cloud(site).ensure_built(progress.say)  # type: ignore[misc]
        for site in sites
    }
    with progress.phase("lab: build what is not cached"):
        together(builds)


def _start(progress: Progress, sites: tuple[str, ...]) -> None:
    with progress.phase("lab: networks"):
        RUN.mkdir(parents=True, exist_ok=True)
        network.ensure_backbone()
        network.plug(OPERATOR_NAMESPACE, "outside", port="operator", address=f"{OPERATOR_ADDRESS}/24")
        operator.ensure_operator()
        certificate.ensure_authority()
        for site, address in API_ADDRESSES.items():
            network.plug(api_namespace(site), site, port=f"{site}-api", address=f"{address}/24")
    starts = {site: _starting(progress, site) for site in sites}
    with progress.phase("lab: start " + ", ".join([*sites, "witness"])):
        together({**starts, "witness": lambda: _start_witness(progress)})


def _starting(progress: Progress, site: str) -> Callable[[], None]:
    def start() -> None:
        began = time.monotonic()
        cloud = clouds.cloud(site)
        cloud.start(progress.say)
        cloud.wait_ready(READY_LIMIT_S)
        progress.say(f"{site}: {cloud.observe()} ({time.monotonic() - began:.1f} s)")

    return start


def _start_witness(progress: Progress) -> None:
    began = time.monotonic()
    witness.start()
    witness.wait_ready(READY_LIMIT_S)
    progress.say(f"witness: answers over SSH ({time.monotonic() - began:.1f} s)")


def together(calls: Mapping[str, Callable[[], None]]) -> None:
    """Run all at the same time; when one fails, or we are interrupted, the others are ended too."""
    failures: list[BaseException] = []

    def attempt(name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            error.add_note(f"while working on: {name}")
            failures.append(error)

    threads = [
        threading.Thread(target=attempt, args=item, name=item[0], daemon=True) for item in calls.items()
    ]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads) and not failures:
            time.sleep(0.02)
    finally:
        _end(threads)
    if failures:
        raise failures[0]


def _end(threads: list[threading.Thread]) -> None:
    """What a thread waits for is a child of ours: end those until it gives up."""
    until = time.monotonic() + CANCEL_LIMIT_S
    while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
        end_children()
        for thread in threads:
            thread.join(0.1)


def _undo(progress: Progress, error: BaseException) -> None:
    """Remove what was made. A second Ctrl-C waits: this takes a few seconds, and half of it helps nobody."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        with progress.phase("remove what was made so far"):
            down.remove(progress.say)
    except DcctlError as undo:
        undo.add_note(f"after: {error}")
        raise undo from error


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end us as Ctrl-C does; outside the main thread, where none may be set, as ever."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    with suppress(ValueError):
        before = {number: signal.signal(number, interrupt) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _description(sites: tuple[str, ...]) -> dict[str, Any]:
    return {
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "image": image.key(),
        "clouds": list(sites),
    }
