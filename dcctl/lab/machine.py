"""The lab's hypervisor: machines as systemd-nspawn containers over an overlay of the golden image.

    python -m dcctl.lab.machine define < spec.json
    python -m dcctl.lab.machine boot|halt|shutdown|suspend|resume|delete|show ID
    python -m dcctl.lab.machine list

Both clouds call it for every change of power, often: it imports nothing but the standard library. Every
verb is idempotent, takes the machine's lock, and finds its way from wherever a killed caller left off.
Answers are JSON on standard output; errors are one sentence on standard error (docs/explanation/lab.md).
"""

import argparse
import fcntl
import ipaddress
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dcctl import resources
from dcctl.errors import DcctlError, NotFound, Rejected, UsageError
from dcctl.lab import cgroup, network
from dcctl.lab.disk import layers_of, write_disk
from dcctl.lab.paths import LOCKS, MACHINE_NAMESPACE_PREFIX, MACHINES, NAMESPACES, PLACES
from dcctl.lab.process import run, tail

BOOT_LIMIT_S = 30.0
SHUTDOWN_LIMIT_S = 30.0
POLL_S = 0.01
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Spec:
    """What a machine is made of. ``address`` carries its prefix length; ``id`` is a UUID.

    ``vcpus`` and ``memory_mb`` are what its cloud gave it; the lab shows but does not enforce them.
    """

    id: str
    name: str
    hostname: str
    place: str
    address: str
    gateway: str
    vcpus: int = 1
    memory_mb: int = 512
    image: str = "debian-12"
    authorized_keys: tuple[str, ...] = ()
    user_data: str = ""

    @property
    def short(self) -> str:
        return self.id.replace("-", "")[:8]

    @property
    def folder(self) -> Path:
        return MACHINES / self.id

    @property
    def namespace(self) -> str:
        return MACHINE_NAMESPACE_PREFIX + self.short

    @property
    def port(self) -> str:
        return f"m-{self.short}"


def define(document: dict[str, Any]) -> Spec:
    """Make the machine's disk, or, if it has one, take over what changed in its specification.

    A change shows from the next boot on. Raises UsageError for a bad specification, NotFound for an image
    that was not built.
    """
    spec = parse(document)
    with _locked(spec.id):
        write_disk(spec.folder, spec)
        _write_json(spec.folder / "spec.json", asdict(spec))
    return spec


def boot(id: str) -> None:
    """Start it; returns once its init runs. A machine that runs already, or is suspended, is left alone."""
    with _locked(id):
        spec = read(id)
        if cgroup.members(id):
            return
        _clear(spec)
        network.plug(spec.namespace, spec.place, port=spec.port, address=spec.address, gateway=spec.gateway)
        _launch(spec)
        _await_init(spec)


def halt(id: str) -> None:
    """A power cut: carrier gone, then everything stops at once. The disk stays as it is."""
    with _locked(id):
        spec = read(id)
        network.set_port(spec.port, up=False)
        cgroup.kill(id)
        _clear(spec)


def shutdown(id: str) -> None:
    """Ask its init to power off; after SHUTDOWN_LIMIT_S the power is cut, as clouds do."""
    with _locked(id):
        spec = read(id)
        if cgroup.members(id):
            cgroup.thaw(id)
            network.set_port(spec.port, up=True)
            _power_off(id)
        cgroup.kill(id)
        _clear(spec)


def suspend(id: str) -> None:
    """Freeze it, its network card included: a suspended machine answers nothing."""
    with _locked(id):
        spec = read(id)
        if cgroup.members(id):
            network.set_port(spec.port, up=False)
            cgroup.freeze(id)


def stall(id: str) -> None:
    """As ``suspend``, but nobody ordered it: to its cloud it runs. A hypervisor that hangs, a long migration.

    Raises Rejected for a machine that is off.
    """
    with _locked(id):
        spec = read(id)
        if not cgroup.members(id):
            raise Rejected("stall the machine", on=spec.name, saw="it is off")
        _stalled(spec).touch()
        network.set_port(spec.port, up=False)
        cgroup.freeze(id)


def is_stalled(id: str) -> bool:
    """Whether it stands still although its cloud says that it runs."""
    return _stalled(read(id)).exists() and cgroup.is_frozen(id)


def resume(id: str) -> None:
    """Let a suspended or stalled machine go on; any other is left alone."""
    with _locked(id):
        spec = read(id)
        _stalled(spec).unlink(missing_ok=True)
        if cgroup.members(id):
            cgroup.thaw(id)
            network.set_port(spec.port, up=True)


def delete(id: str) -> None:
    """Power cut and disk gone; absent is done."""
    with _locked(id):
        try:
            spec = read(id)
        except NotFound:  # killed before its specification was written, or long gone
            cgroup.kill(id)
            cgroup.remove(id)
        else:
            network.set_port(spec.port, up=False)
            cgroup.kill(id)
            _clear(spec)
        shutil.rmtree(MACHINES / id, ignore_errors=True)


def show(id: str) -> dict[str, Any]:
    """The specification without its secrets, the power state, and where to find it on this host."""
    spec = read(id)
    return {
        "id": spec.id,
        "name": spec.name,
        "hostname": spec.hostname,
        "place": spec.place,
        "address": spec.address,
        "gateway": spec.gateway,
        "vcpus": spec.vcpus,
        "memory_mb": spec.memory_mb,
        "image": spec.image,
        "state": state(id),
        "namespace": spec.namespace,
        "folder": str(spec.folder),
        "console": str(spec.folder / "console.log"),
        "init": init_of(id),
    }


def state(id: str) -> str:
    """``running``, ``suspended`` or ``off``, as its cloud is told."""
    if not cgroup.members(id):
        return "off"
    return "suspended" if cgroup.is_frozen(id) and not _stalled(read(id)).exists() else "running"


def ids() -> tuple[str, ...]:
    """All machines that were defined and not deleted."""
    return tuple(sorted(path.parent.name for path in MACHINES.glob("*/spec.json")))


def read(id: str) -> Spec:
    """The specification of a machine. Raises NotFound."""
    try:
        document = json.loads((MACHINES / id / "spec.json").read_text())
    except FileNotFoundError:
        raise NotFound(
            "find the machine", on=id, saw="no such machine", next_command="dcctl lab status"
        ) from None
    return parse(document)


def parse(document: dict[str, Any]) -> Spec:
    """A specification from its JSON document. Raises UsageError naming what is wrong."""
    known = {field.name for field in fields(Spec)}
    if unknown := set(document) - known:
        raise UsageError("define a machine", saw=f"unknown fields {', '.join(sorted(unknown))}")
    document = {**document, "authorized_keys": tuple(document.get("authorized_keys") or ())}
    try:
        spec = Spec(**document)
    except TypeError as error:
        raise UsageError("define a machine", saw=str(error)) from error
    if wrong := _wrong(spec):
        raise UsageError("define a machine", on=spec.name, saw=wrong)
    return spec


def _wrong(spec: Spec) -> str:
    """What in a specification cannot be, or nothing."""
    if not is_id(spec.id):
        return f"{spec.id} is not a UUID"
    if spec.place not in PLACES:
        return f"no place {spec.place}"
    if not HOST_NAME.fullmatch(spec.hostname):
        return f"{spec.hostname} is not a host name"
    if "/" not in spec.address:
        return f"address {spec.address} lacks its prefix length"
    try:
        ipaddress.IPv4Interface(spec.address)
        ipaddress.IPv4Address(spec.gateway)
    except ValueError as error:
        return f"address {spec.address}, gateway {spec.gateway}: {error}"
    return ""


def is_id(text: str) -> bool:
    """Whether it is a UUID in its usual form; ids name folders, so nothing else is taken."""
    return ID.fullmatch(text) is not None


def init_of(id: str) -> int | None:
    """The host's id of the process that is number 1 inside."""
    for pid in cgroup.members(id):
        try:
            status = Path("/proc", str(pid), "status").read_text()
        except OSError:
            continue
        (inside,) = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
        if len(inside) > 1 and inside[-1] == "1":
            return pid
    return None


def _launch(spec: Spec) -> None:
    """In a session of its own with nothing of ours open, so that it survives the caller."""
    scripts = resources.lab() / "machine"
    groups = [str(group) for group in cgroup.ensure(spec.id)]
    with (spec.folder / "console.log").open("ab") as console:
        run(
            [
                *("sh", str(scripts / "detach"), *groups, "-"),
                *("unshare", "--mount", "--propagation", "private", "sh", str(scripts / "launch")),
                *(str(spec.folder), layers_of(spec.folder), str(NAMESPACES / spec.namespace)),
                *(f"dcctl-{spec.short}", spec.hostname),
            ],
            output=console,
        )


def _await_init(spec: Spec) -> None:
    """Raises Rejected with the end of the console when the machine's processes end or never begin."""
    until = time.monotonic() + BOOT_LIMIT_S
    begun = False
    while init_of(spec.id) is None:
        alive = bool(cgroup.members(spec.id))
        if (begun and not alive) or time.monotonic() > until:
            console = (spec.folder / "console.log").read_text(errors="replace")
            cgroup.kill(spec.id)
            _clear(spec)
            raise Rejected("boot the machine", on=spec.name, saw=tail(console) or "no word from it")
        begun = alive
        time.sleep(POLL_S)


def _power_off(id: str) -> None:
    """SIGRTMIN+4 is what systemd takes for "power off" (systemd(1), Signals)."""
    init = init_of(id)
    if init is None:
        return
    os.kill(init, signal.SIGRTMIN + 4)
    until = time.monotonic() + SHUTDOWN_LIMIT_S
    while cgroup.members(id) and time.monotonic() < until:
        time.sleep(POLL_S)


def _stalled(spec: Spec) -> Path:
    return spec.folder / "stalled"


def _clear(spec: Spec) -> None:
    """What a machine that is off does not have: a cable, a network namespace, a control group.

    The namespace goes with its sockets, so that no connection of the last boot lives in the next.
    """
    _stalled(spec).unlink(missing_ok=True)
    network.unplug(spec.port)
    network.remove_namespace(spec.namespace)
    cgroup.remove(spec.id)


@contextmanager
def _locked(id: str) -> Iterator[None]:
    """One verb at a time for each machine. The lock's file is not the machine's: delete removes that."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with (LOCKS / id).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_json(path: Path, document: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document))
    new.replace(path)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; the exit code is that of the error tree."""
    verbs = {verb.__name__: verb for verb in (boot, halt, shutdown, suspend, resume, delete, show)}
    parser = argparse.ArgumentParser(prog="dcctl.lab.machine", description="The lab's hypervisor.")
    commands = parser.add_subparsers(dest="verb", required=True)
    commands.add_parser("define", help="a specification in JSON on standard input")
    commands.add_parser("list", help="all machines, as JSON")
    for verb, function in verbs.items():
        commands.add_parser(verb, help=(function.__doc__ or "").splitlines()[0]).add_argument("id")
    arguments = parser.parse_args(argv)
    try:
        match arguments.verb:
            case "define":
                answer: Any = show(define(json.load(sys.stdin)).id)
            case "list":
                answer = [show(id) for id in ids()]
            case verb if is_id(arguments.id):
                answer = verbs[verb](arguments.id)
            case _:
                raise UsageError("find the machine", on=arguments.id, saw="not a UUID")
    except DcctlError as error:
        print(error.sentence(), file=sys.stderr)
        return error.exit_code
    if answer is not None:
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
