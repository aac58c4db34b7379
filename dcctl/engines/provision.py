"""Doing what a provision plan says: at all sites at once, a few machines of each at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from dcctl.domain.known_hosts import KnownHost
from dcctl.domain.machine import Server, ServerSpec
from dcctl.domain.provision import CHANGES, Action, Do, Plan
from dcctl.domain.step import Step, Together, Wait, Work
from dcctl.domain.user_data import HostKeyPair, render_user_data
from dcctl.errors import DcctlError
from dcctl.ports import KnownHosts, Machines, Remote

T = TypeVar("T")
R = TypeVar("R")

AT_A_TIME = 4
"""Machines of one site that are worked on side by side; more would only queue inside the cloud."""

CREATE_LIMIT_S = 900
"""Until the cloud calls a server running; the first copy of a large image to a hypervisor takes minutes."""

DELETE_LIMIT_S = 300
"""Until the cloud lists it no more."""

BOOT_LIMIT_S = 180
"""From there until its sshd proves its host key and lets us in; cloud-init works meanwhile."""

ANSWER_LIMIT_S = 10
"""For one attempt to log in."""

EVERY_S = 1
"""Between attempts."""

RECORD_LIMIT_S = 10
"""For a small file on this machine's disk."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Whom new machines let in: ``user``, with the private half of one of the ``authorized_keys``."""

    user: str
    ssh_port: int
    authorized_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Means:
    """What provisioning works with. ``remote`` reaches a machine, by its name, at its recorded host key."""

    machines: Mapping[str, Machines]
    known_hosts: KnownHosts
    remote: Callable[[str], Remote]
    make_host_key: Callable[[], HostKeyPair]
    operator: Operator


def apply(plan: Plan, means: Means) -> Work[tuple[Server, ...]]:
    """Make it so; then every machine that is as configured has been seen to answer, as itself.

    Returns the configured servers. Planning and applying again is how an apply that failed goes on.
    """
    sites: list[list[Server]] = yield Together(
        tuple(_apply_at(plan.at(site), machines, means) for site, machines in means.machines.items())
    )
    return tuple(server for servers in sites for server in servers)


def destroy(plan: Plan, means: Means) -> Work[None]:
    """Delete what the plan deletes, and trust its host keys no longer."""
    yield Together(
        tuple(_delete_at(plan.at(site), machines, means) for site, machines in means.machines.items())
    )


def _apply_at(actions: Sequence[Action], machines: Machines, means: Means) -> Work[list[Server]]:
    # Orphans go first: one may hold an address that is needed.
    yield from _delete_at(actions, machines, means)
    configured = [(action, action.spec) for action in actions if action.spec is not None]
    return (yield from _in_waves(configured, lambda pair: _ensure(*pair, machines, means)))


def _delete_at(actions: Sequence[Action], machines: Machines, means: Means) -> Work[None]:
    doomed = [action for action in actions if action.do is Do.DELETE]
    yield from _in_waves(doomed, lambda action: _delete(action, machines, means))


def _in_waves(items: Sequence[T], work: Callable[[T], Work[R]]) -> Work[list[R]]:
    results: list[R] = []
    for start in range(0, len(items), AT_A_TIME):
        results += yield Together(tuple(work(item) for item in items[start : start + AT_A_TIME]))
    return results


def _ensure(action: Action, spec: ServerSpec, machines: Machines, means: Means) -> Work[Server]:
    server = action.server
    if server is None or action.do in CHANGES:
        server = yield Step(
            f"{action.do} {spec.name}",
            spec.site,
            CREATE_LIMIT_S,
            lambda: machines.ensure_server(_for_first_boot(spec, means)),
        )
        assert server is not None  # noqa: S101  # what ensure_server returned
    if server.host_key and server.address == spec.address:
        # What differs in these has been shown as drift; who answers there could not be proven.
        host = KnownHost(spec.name, spec.address, means.operator.ssh_port, server.host_key)
        if host not in means.known_hosts.observe():
            yield Step(
                f"trust {spec.name}", spec.site, RECORD_LIMIT_S, lambda: means.known_hosts.record(host)
            )
        yield _answers(spec, means)
    return server


def _for_first_boot(spec: ServerSpec, means: Means) -> ServerSpec:
    """The specification with a new host key, whose private half is in the user-data and nowhere else."""
    host_key = means.make_host_key()
    user_data = render_user_data(
        hostname=spec.name,
        user=means.operator.user,
        authorized_keys=means.operator.authorized_keys,
        host_key=host_key,
    )
    return replace(
        spec,
        authorized_keys=means.operator.authorized_keys,
        host_key=host_key.public,
        user_data=user_data,
    )


def _answers(spec: ServerSpec, means: Means) -> Wait:
    """Until a command runs there, over a channel whose other end has proven the recorded host key."""
    seen = "nothing yet"

    def until() -> bool | None:
        nonlocal seen
        try:
            status, _out, error = means.remote(spec.name).run(("true",), limit_s=ANSWER_LIMIT_S)
        except DcctlError as failure:
            seen = failure.sentence()
            return None
        seen = f"'true' ended with status {status}: {error.strip()}"
        return True if status == 0 else None

    return Wait(f"an SSH answer from {spec.name}", spec.site, BOOT_LIMIT_S, EVERY_S, until, lambda: seen)


def _delete(action: Action, machines: Machines, means: Means) -> Work[None]:
    yield Step(
        f"delete {action.name}", action.site, DELETE_LIMIT_S, lambda: machines.delete_server(action.name)
    )
    yield Step(
        f"forget {action.name}", action.site, RECORD_LIMIT_S, lambda: means.known_hosts.forget(action.name)
    )
