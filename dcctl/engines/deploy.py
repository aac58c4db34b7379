"""Configuring machines, and then looking whether they are what they should be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dcctl.domain.artifact import decide_artifacts
from dcctl.domain.deploy import (
    Applied,
    Change,
    Deployment,
    Doing,
    Failure,
    Finding,
    Trouble,
    decide_missing,
)
from dcctl.domain.step import Step, Work
from dcctl.errors import DcctlError, Rejected, Unreachable
from dcctl.ports import Acceptance, Artifacts, Playbooks

BUILD_LIMIT_S = 900
"""For the artifacts of all applications, over a slow line."""

APPLY_LIMIT_S = 1800
"""For one application of all playbooks; the first one on bare machines installs packages."""

OPERATOR = "operator"
"""Where artifacts are built, in the place of a machine's name."""

EXAMINE_LIMIT_S = 600
"""For all checks on all machines, about 0.2 s each."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a deploy works with.

    ``watch`` is told what happens, ``asked_to_end`` says whether the run was interrupted.
    """

    artifacts: Artifacts
    playbooks: Playbooks
    acceptance: Acceptance
    watch: Callable[[Doing | Change | Failure | Finding], None]
    asked_to_end: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was done, and what was found afterwards; every finding passed."""

    applied: Applied
    findings: tuple[Finding, ...]


def deploy(deployment: Deployment, means: Means) -> Work[Deployed]:
    """Configure the machines and examine them. A deploy that failed goes on by deploying again."""
    if (build := building(deployment.roles, means)) is not None:
        yield build
    applied: Applied = yield configuring(deployment, means)
    findings: tuple[Finding, ...] = yield examining(deployment, means)
    return Deployed(applied, findings)


def building(roles: Sequence[str], means: Means) -> Step | None:
    """The step that makes what ``roles`` need; None where they need nothing made."""
    needed = decide_artifacts(roles)
    if not needed:
        return None
    return Step("build", ", ".join(needed), BUILD_LIMIT_S, lambda: _build(needed, means))


def configuring(deployment: Deployment, means: Means, *, on: str = "", undo: bool = False) -> Step:
    """The step that configures; its answer is Applied. ``on`` is for people."""
    on = on or _on(deployment.machines)
    return Step("configure", on, APPLY_LIMIT_S, lambda: _apply(deployment, means, check=False), undo=undo)


def examining(deployment: Deployment, means: Means, *, on: str = "", undo: bool = False) -> Step:
    """The step that examines; its answer are the findings, which all passed."""
    on = on or _on(deployment.machines)
    return Step("examine", on, EXAMINE_LIMIT_S, lambda: _examine(deployment, means), undo=undo)


def compare(deployment: Deployment, means: Means) -> Applied:
    """What a deploy would change. Changes nothing; raises when a machine cannot be compared."""
    return _apply(deployment, means, check=True)


def _build(names: Sequence[str], means: Means) -> None:
    """On the operator's side, before any machine is touched."""
    means.artifacts.ensure(
        names,
        limit_s=BUILD_LIMIT_S,
        seen=lambda name, said: means.watch(Doing(OPERATOR, "application", f"{name}: {said}")),
        asked_to_end=means.asked_to_end,
    )


def _apply(deployment: Deployment, means: Means, *, check: bool) -> Applied:
    applied = means.playbooks.apply(
        deployment,
        check=check,
        limit_s=APPLY_LIMIT_S,
        seen=means.watch,
        asked_to_end=means.asked_to_end,
    )
    if applied.failures:
        unreachable = all(failure.trouble is Trouble.UNREACHABLE for failure in applied.failures)
        raise _as_one(
            Unreachable if unreachable else Rejected,
            "compare" if check else "configure",
            [(failure.machine, failure.sentence()) for failure in applied.failures],
        )
    return applied


def _examine(deployment: Deployment, means: Means) -> tuple[Finding, ...]:
    findings = means.acceptance.examine(
        deployment.machines,
        deployment.roles,
        limit_s=EXAMINE_LIMIT_S,
        seen=means.watch,
        asked_to_end=means.asked_to_end,
    )
    failed = [(finding.machine, finding.sentence()) for finding in findings if not finding.passed]
    failed += [(name, "no check looked at it") for name in decide_missing(deployment, findings)]
    if failed:
        raise _as_one(Rejected, "examine", failed)
    return findings


def _as_one(kind: type[DcctlError], tried: str, failed: Sequence[tuple[str, str]]) -> DcctlError:
    """One error for all machines: the first sentence is the error's, the others are its notes."""
    first, *others = dict.fromkeys(f"{machine}: {sentence}" for machine, sentence in failed)
    error = kind(tried, on=", ".join(dict.fromkeys(machine for machine, _sentence in failed)), saw=first)
    for other in others:
        error.add_note(other)
    return error


def _on(machines: Sequence[str]) -> str:
    return machines[0] if len(machines) == 1 else f"{len(machines)} machines"
