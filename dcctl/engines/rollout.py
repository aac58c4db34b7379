"""A deploy that goes from place to place: out of traffic, configured, proven healthy, back in traffic.

A place whose gate fails is brought back to what was accepted there before, proven again, and put back.
What cannot be brought back stays out of traffic: the other site serves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dcctl.domain.deploy import Applied, Deployment, Finding, Trouble
from dcctl.domain.probe import Health, ProbeResult
from dcctl.domain.rollout import Rollout, Wave
from dcctl.domain.step import Step, Wait, Work
from dcctl.engines import deploy
from dcctl.engines.deploy import Deployed, building, configuring, examining
from dcctl.errors import DcctlError, Interrupted, Rejected, UndoIncomplete, Unreachable
from dcctl.ports import Accepted

READY_LIMIT_S: Final = 120
"""Until the rest of the system can do without a place; a member that was restarted streams again by then."""
HEALTH_LIMIT_S: Final = 120
"""Until every probe of a place has found it well ``rise`` times in a row."""
EVERY_S: Final = 1.0
KEEP_LIMIT_S: Final = 30


@dataclass(frozen=True, slots=True)
class Means:
    """What a rollout works with, beside what a deploy does.

    ``drain`` takes a site out of rotation and returns when nothing of it is in flight; ``undrain`` puts it
    back and returns when the edges show it. ``ready`` says why the others cannot do without these machines.
    ``health`` gives, for some machines, a look at them that remembers the looks before.
    """

    deploy: deploy.Means
    accepted: Accepted
    ready: Callable[[Sequence[str]], tuple[str, ...]]
    health: Callable[[Sequence[str]], Callable[[], tuple[ProbeResult, ...]]]
    drain: Callable[[str], Work[Any]]
    undrain: Callable[[str], Work[Any]]


def observe_changed(deployment: Deployment, means: deploy.Means) -> tuple[Applied, tuple[str, ...]]:
    """What a deploy would change, and on which machines; one that cannot be compared counts as changed.

    Changes nothing. Raises Unreachable for a machine that does not answer: it could be neither configured
    nor brought back.
    """
    compared = means.playbooks.apply(
        deployment,
        check=True,
        limit_s=deploy.APPLY_LIMIT_S,
        seen=means.watch,
        asked_to_end=means.asked_to_end,
    )
    dark = [each for each in compared.failures if each.trouble is Trouble.UNREACHABLE]
    if dark:
        told = "; ".join(f"{each.machine}: {each.sentence()}" for each in dark)
        raise Unreachable("compare the machines with what is configured", saw=told)
    touched = {each.machine for each in compared.changes} | {each.machine for each in compared.failures}
    return compared, tuple(name for name in deployment.machines if name in touched)


def roll_out(plan: Rollout, deployment: Deployment, compared: Applied, means: Means) -> Work[Deployed]:
    """Go through the waves; then look at what none of them touched. The first wave that fails is the last."""
    if plan.waves and (build := building(deployment.roles, means.deploy)) is not None:
        yield build
    done: list[Deployed] = []
    for wave in plan.waves:
        done.append((yield from _wave(wave, means)))
    touched = {name for wave in plan.waves for name in wave.deployment.machines}
    rest = replace(
        deployment, machines=tuple(name for name in deployment.machines if name not in touched), whole=False
    )
    findings: tuple[Finding, ...] = ()
    if rest.machines:
        findings = yield examining(rest, means.deploy)
        yield _keep(rest, "unchanged", means)
    return _summed(done, [each for each in compared.recaps if each.machine in rest.machines], findings)


def _wave(wave: Wave, means: Means) -> Work[Deployed]:
    yield _ready(wave, means)
    begun: list[bool] = []
    try:
        if wave.drain:
            yield from means.drain(wave.site)
        applied: Applied = yield _noting(begun, configuring(wave.deployment, means.deploy, on=wave.place))
        findings: tuple[Finding, ...] = yield examining(wave.gate, means.deploy, on=wave.place)
        yield _healthy(wave, means)
    except DcctlError as failure:
        yield from _failed(wave, means, failure, begun=bool(begun))
        raise
    if wave.undrain:
        yield from means.undrain(wave.site)
    yield _keep(wave.deployment, wave.place, means)
    return Deployed(applied, findings)


def _failed(wave: Wave, means: Means, failure: DcctlError, *, begun: bool) -> Work[None]:
    """Leave the place serving if it can be; what to know goes with ``failure``, or with what replaces it."""
    if not begun:
        if wave.drain:
            yield from means.undrain(wave.site)
    elif isinstance(failure, Interrupted):
        if wave.undrain:
            failure.add_note(f"{wave.site} stays out of rotation, half configured: deploying again ends that")
    else:
        yield from _back(wave, means, failure)


def _back(wave: Wave, means: Means, failure: DcctlError) -> Work[None]:
    """Bring the place back to what was accepted there before; raises what is to be told."""
    parts = means.accepted.earlier(wave.deployment)
    out = f"{wave.site} stays out of rotation" if wave.undrain else f"{wave.place} is left as it is"
    if not parts:
        failure.add_note(
            f"nothing was accepted on all of {wave.place} before that it could go back to: {out}"
        )
        return
    try:
        for part in parts:
            earlier = replace(
                means.deploy,
                playbooks=part.playbooks,
                acceptance=part.acceptance,
                asked_to_end=lambda: False,
            )
            yield configuring(part.deployment, earlier, on=f"{wave.place}, back", undo=True)
            yield examining(part.deployment, earlier, on=f"{wave.place}, back", undo=True)
        yield replace(_healthy(wave, means), undo=True)
        if wave.undrain:
            yield from means.undrain(wave.site)
    except DcctlError as worse:
        raise _noted(
            UndoIncomplete(f"bring {wave.place} back", on=wave.place, left=(f"{out}: {worse.sentence()}",)),
            failure,
        ) from failure
    back = f"{wave.place} was brought back to what was accepted before"
    saw = f"{failure.sentence()}; {back}{', and is in rotation' if wave.undrain else ''}"
    raise _noted(Rejected(f"deploy {wave.place}", on=wave.place, saw=saw), failure) from failure


def _noted(told: DcctlError, failure: DcctlError) -> DcctlError:
    for note in (failure.sentence(), *getattr(failure, "__notes__", ())):
        if note not in told.saw:
            told.add_note(note)
    return told


def _noting(begun: list[bool], step: Step) -> Step:
    def effect() -> Any:
        begun.append(True)
        return step.effect()

    return replace(step, effect=effect)


def _ready(wave: Wave, means: Means) -> Wait:
    """Until quorum and database can do without the place, whose voters and members may be restarted."""
    machines, saw = wave.deployment.machines, [""]

    def until() -> bool | None:
        saw[0] = "; ".join(means.ready(machines))
        return None if saw[0] else True

    return Wait(
        f"the others to do without {wave.place}", wave.place, READY_LIMIT_S, EVERY_S, until, lambda: saw[0]
    )


def _healthy(wave: Wave, means: Means) -> Wait:
    """Until every probe of the place's machines says UP: right as often in a row as it asks for."""
    look, saw = means.health(wave.gate.machines), ["nothing was probed"]

    def until() -> bool | None:
        wanting = [result for result in look() if result.health is not Health.UP]
        saw[0] = "; ".join(f"{result.name}: {result.saw}" for result in wanting)
        return None if wanting else True

    return Wait(f"{wave.place} to be healthy", wave.place, HEALTH_LIMIT_S, EVERY_S, until, lambda: saw[0])


def _keep(deployment: Deployment, on: str, means: Means) -> Step:
    return Step("remember as accepted", on, KEEP_LIMIT_S, lambda: means.accepted.keep(deployment))


def _summed(done: Sequence[Deployed], recaps: Sequence[Any], findings: Sequence[Finding]) -> Deployed:
    applied = [each.applied for each in done]
    return Deployed(
        Applied(
            recaps=tuple(
                sorted(
                    (*recaps, *(r for each in applied for r in each.recaps)), key=lambda recap: recap.machine
                )
            ),
            changes=tuple(change for each in applied for change in each.changes),
            failures=(),
            took_s=round(sum(each.took_s for each in applied), 3),
        ),
        (*(finding for each in done for finding in each.findings), *findings),
    )
