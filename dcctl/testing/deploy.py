"""Machines in memory that can be deployed: what is configured, what is broken, what was done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dcctl.domain.artifact import BY_ROLE, Artifact
from dcctl.domain.deploy import Applied, Change, Deployment, Doing, Failure, Finding, Recap, Target, Trouble
from dcctl.errors import Interrupted
from dcctl.ports import Earlier


@dataclass
class FakeEstate:
    """The machines. Set its fields; the ports below feel them."""

    targets: Sequence[Target]
    version: int = 1
    """Of what is configured now; another one changes every machine."""
    configured: dict[tuple[str, str], int] = field(default_factory=dict)
    """By machine and role, the version that it runs."""
    bad: set[int] = field(default_factory=set)
    """Versions that no check passes."""
    failing: dict[tuple[str, str], str] = field(default_factory=dict)
    """A role that fails on a machine, with the task's message."""
    dark: dict[str, str] = field(default_factory=dict)
    """Machines that cannot be reached, and what is seen of them."""
    unsound: dict[tuple[str, str], str] = field(default_factory=dict)
    """A check of a role that fails on a machine, with its message."""
    unseen: set[str] = field(default_factory=set)
    """Machines that no check looks at."""
    deploys: int = 0

    def carried(self, names: Sequence[str], roles: Sequence[str]) -> list[tuple[str, str]]:
        """Machine and role, in the order in which they are deployed."""
        return [
            (target.name, role)
            for role in roles
            for target in self.targets
            if target.name in names and role in target.roles
        ]


class FakeArtifacts:
    """``ports.Artifacts``: each is made at once."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def describe(self) -> Mapping[str, Artifact]:
        names = dict.fromkeys(name for needed in BY_ROLE.values() for name in needed)
        return {name: Artifact(name, "0" * 16, f"/artifacts/{name}.tar.gz") for name in names}

    def ensure(
        self,
        names: Sequence[str],
        *,
        limit_s: float,  # noqa: ARG002
        seen: Callable[[str, str], None],
        asked_to_end: Callable[[], bool],
    ) -> tuple[Artifact, ...]:
        for name in names:
            if asked_to_end():
                raise Interrupted("build the artifact", on=name)
            if name not in self.made:
                seen(name, "packing")
                self.made.append(name)
        return tuple(self.describe()[name] for name in names)


class FakePlaybooks:
    """``ports.Playbooks``: each role is one task."""

    def __init__(self, estate: FakeEstate, version: int | None = None) -> None:
        self._estate = estate
        self._version = version
        """What it configures; None: the estate's own."""

    def apply(
        self,
        deployment: Deployment,
        *,
        check: bool,
        limit_s: float,  # noqa: ARG002
        seen: Callable[[Doing | Change | Failure], None],
        asked_to_end: Callable[[], bool],
    ) -> Applied:
        estate = self._estate
        estate.deploys += 1
        version = self._version or estate.version
        changes: list[Change] = []
        failures: dict[str, Failure] = {}
        for machine, role in estate.carried(deployment.machines, deployment.roles):
            if asked_to_end():
                raise Interrupted("apply the playbooks")
            if machine in failures:
                continue
            seen(Doing(machine, role, "configure"))
            failure = self._failure(machine, role)
            if failure is not None:
                failures[machine] = failure
                seen(failure)
            elif estate.configured.get((machine, role)) != version:
                changes.append(Change(machine, role, "configure", (f"/etc/{role}",)))
                seen(changes[-1])
                if not check:
                    estate.configured[machine, role] = version
        recaps = tuple(self._recap(machine, changes, failures) for machine in deployment.machines)
        return Applied(recaps, tuple(changes), tuple(failures.values()), took_s=1.0)

    def _failure(self, machine: str, role: str) -> Failure | None:
        estate = self._estate
        if machine in estate.dark:
            return Failure(machine, role, "configure", estate.dark[machine], Trouble.UNREACHABLE)
        if (machine, role) in estate.failing:
            return Failure(machine, role, "configure", estate.failing[machine, role])
        return None

    @staticmethod
    def _recap(machine: str, changes: Sequence[Change], failures: Mapping[str, Failure]) -> Recap:
        failure = failures.get(machine)
        return Recap(
            machine=machine,
            ok=1,
            changed=sum(change.machine == machine for change in changes),
            skipped=0,
            failed=int(failure is not None and failure.trouble is Trouble.FAILED),
            unreachable=int(failure is not None and failure.trouble is Trouble.UNREACHABLE),
        )


class FakeAccepted:
    """``ports.Accepted``: versions of an estate."""

    def __init__(self, estate: FakeEstate) -> None:
        self._estate = estate
        self.kept: dict[tuple[str, str], int] = {}

    def keep(self, deployment: Deployment) -> None:
        carried = self._estate.carried(deployment.machines, deployment.roles)
        self.kept.update(dict.fromkeys(carried, self._estate.version))

    def earlier(self, deployment: Deployment) -> tuple[Earlier, ...]:
        parts: dict[tuple[int, str], list[str]] = {}
        for machine, role in self._estate.carried(deployment.machines, deployment.roles):
            if (machine, role) not in self.kept:
                return ()
            parts.setdefault((self.kept[machine, role], role), []).append(machine)
        return tuple(
            Earlier(
                Deployment((role,), tuple(machines), whole=False),
                FakePlaybooks(self._estate, version),
                FakeAcceptance(self._estate),
            )
            for (version, role), machines in parts.items()
        )


class FakeAcceptance:
    """``ports.Acceptance``: one check per role, that it is configured and sound."""

    def __init__(self, estate: FakeEstate) -> None:
        self._estate = estate

    def examine(
        self,
        names: Sequence[str],
        roles: Sequence[str],
        *,
        limit_s: float,  # noqa: ARG002
        seen: Callable[[Finding], None],
        asked_to_end: Callable[[], bool],
    ) -> tuple[Finding, ...]:
        findings = []
        for machine, role in self._estate.carried(names, roles):
            if asked_to_end():
                raise Interrupted("examine the machines")
            if machine in self._estate.unseen:
                continue
            wrong = self._estate.unsound.get((machine, role), "")
            version = self._estate.configured.get((machine, role))
            if not wrong and version is None:
                wrong = "it is not configured"
            if not wrong and version in self._estate.bad:
                wrong = f"version {version} is broken"
            findings.append(Finding(machine, role, "it works", passed=not wrong, message=wrong))
            seen(findings[-1])
        return tuple(findings)
