"""What a deploy is asked to do, what it did, and what the machines showed afterwards. Pure.

Playbooks configure and never decide; what their outcome means is decided here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dcctl.domain.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Target:
    """A machine that can be deployed; ``place`` is its site, or ``witness``."""

    name: str
    place: str
    address: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deployment:
    """What to configure: ``roles`` on those of ``machines`` that carry them.

    ``whole`` means every role on every machine of the environment.
    """

    roles: tuple[str, ...]
    machines: tuple[str, ...]
    whole: bool

    def command(self) -> str:
        """What to type for the same again."""
        limit = "" if self.whole else "".join(f" --limit {name}" for name in self.machines)
        roles = "" if self.whole else "".join(f" {role}" for role in self.roles)
        return f"dcctl deploy{roles}{limit}"


def decide_deployment(
    targets: Sequence[Target], *, roles: Sequence[str] = (), limit: Sequence[str] = ()
) -> Deployment | Refusal:
    """Everything, or what ``roles`` and ``limit`` (names of machines and places) narrow it down to.

    Refused when a word is unknown, or when nothing is left.
    """
    known_roles = list(dict.fromkeys(role for target in targets for role in target.roles))
    known_places = list(dict.fromkeys(target.place for target in targets))
    reasons = [
        f"no machine carries the role {role}; roles are {', '.join(known_roles)}"
        for role in roles
        if role not in known_roles
    ]
    names = [target.name for target in targets]
    reasons += [
        f"there is no machine or place {word}; places are {', '.join(known_places)}, "
        f"machines are {', '.join(names)}"
        for word in limit
        if word not in names and word not in known_places
    ]
    chosen = [target for target in targets if not limit or target.name in limit or target.place in limit]
    if roles:
        chosen = [target for target in chosen if set(target.roles) & set(roles)]
    if not chosen and not reasons:
        reasons = [f"none of {', '.join(limit) or 'the machines'} carries {' or '.join(roles)}"]
    if reasons:
        return Refusal(tuple(reasons))
    carried = {role for target in chosen for role in target.roles}
    return Deployment(
        roles=tuple(role for role in known_roles if role in carried and (not roles or role in roles)),
        machines=tuple(target.name for target in chosen),
        whole=len(chosen) == len(targets) and not roles,
    )


@dataclass(frozen=True, slots=True)
class Doing:
    """A machine has begun a task, for people to watch."""

    machine: str
    role: str
    task: str


@dataclass(frozen=True, slots=True)
class Change:
    """One task that changed a machine, or would have; ``details`` are paths, packages or sentences."""

    machine: str
    role: str
    task: str
    details: tuple[str, ...] = ()

    def sentence(self) -> str:
        what = f"{self.role}: {self.task}" if self.role else self.task
        return f"{what} ({', '.join(self.details)})" if self.details else what


class Trouble(StrEnum):
    """Why a machine was not configured to the end."""

    FAILED = "failed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Failure:
    """The task that stopped a machine, with the task's own message."""

    machine: str
    role: str
    task: str
    message: str
    trouble: Trouble = Trouble.FAILED

    def sentence(self) -> str:
        if self.trouble is Trouble.UNREACHABLE:
            return f"it cannot be reached: {self.message}"
        what = f"{self.role}: {self.task}" if self.role else self.task
        return f"task '{what}' failed: {self.message}"


@dataclass(frozen=True, slots=True)
class Recap:
    """How many tasks did what on one machine."""

    machine: str
    ok: int
    changed: int
    skipped: int
    failed: int
    unreachable: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome of applying playbooks; ``took_s`` in seconds."""

    recaps: tuple[Recap, ...]
    changes: tuple[Change, ...]
    failures: tuple[Failure, ...]
    took_s: float

    @property
    def changed(self) -> int:
        return sum(recap.changed for recap in self.recaps)


@dataclass(frozen=True, slots=True)
class Finding:
    """One acceptance check on one machine. ``message`` is empty when it passed."""

    machine: str
    role: str
    check: str
    passed: bool
    message: str = ""

    def sentence(self) -> str:
        return f"{self.role}: {self.check}" + (f": {self.message}" if self.message else "")


def decide_missing(deployment: Deployment, findings: Sequence[Finding]) -> tuple[str, ...]:
    """Machines of the deployment that no check has looked at: silence is not acceptance."""
    seen = {finding.machine for finding in findings}
    return tuple(name for name in deployment.machines if name not in seen)


def decide_unusable(secret: str, name: str = "") -> str:
    """Why the secret ``name`` cannot be used on the machines; empty when it can.

    Patroni 3.0.2 quotes passwords as Latin-1 and reads them back as UTF-8 (its psycopg.py). Swift's
    configuration splits at blanks, interpolates ``%`` and begins comments with ``#`` and ``;``.
    """
    if name.startswith("swift_") and re.fullmatch(r"[A-Za-z0-9_.~+/=-]+", secret) is None:
        return "has a character other than letters, digits and _.~+/=-, and Swift's files cannot hold it"
    if not secret.isascii() or not secret.isprintable():
        return "has a character that is not printable ASCII, and Patroni cannot set such a password"
    return ""


def as_static_inventory(script: Mapping[str, Any]) -> dict[str, Any]:
    """A dynamic inventory (``_meta`` and groups) as the static one that Ansible reads from a file.

    Source: docs.ansible.com, "Developing dynamic inventory" and "How to build your inventory".
    """
    groups = {name: group for name, group in script.items() if name not in ("_meta", "all")}
    return {
        "all": {
            "vars": dict(script.get("all", {}).get("vars", {})),
            "hosts": dict(script["_meta"]["hostvars"]),
            "children": {
                name: {
                    "hosts": {host: {} for host in group.get("hosts", ())},
                    "children": {child: {} for child in group.get("children", ())},
                    "vars": dict(group.get("vars", {})),
                }
                for name, group in groups.items()
            },
        }
    }
