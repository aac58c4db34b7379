"""How ``dcctl deploy`` goes about it: place by place where clients are served, all at once where none is."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dcctl.domain.deploy import Doing
from dcctl.domain.refusal import Refusal
from dcctl.domain.rollout import TAKEN_OUT, Rollout, decide_rollout
from dcctl.domain.rules import Rule, rule_of, why_closed
from dcctl.errors import Refused

if TYPE_CHECKING:
    from dcctl.cli.deploy import Stage
    from dcctl.domain.rules import Reason
    from dcctl.domain.step import Work
    from dcctl.engines.deploy import Deployed, Means
    from dcctl.ports import Accepted, Clock, Journal

LOOK_LIMIT_S = 90.0
"""One look at edges, databases and a cloud, each within its own limit; what takes longer counts as silent."""


@dataclass(frozen=True)
class Prepared:
    """What a deploy will do: ``work``, for a run's journal. Entering ``acting`` takes the right to do it."""

    says: str
    work: "Callable[[Journal], Work[Deployed]]"
    acting: "Callable[[Journal], AbstractContextManager[object]]" = lambda _journal: nullcontext()
    overridden: "tuple[Reason, ...]" = ()
    """What would stand against it, were its rule not overridden."""


@contextmanager
def prepared(
    stage: "Stage", means: "Means", accepted: "Accepted", together: str, clock: "Clock"
) -> Iterator[Prepared]:
    """Decided from how the system stands. Nothing is changed before its work begins.

    Raises Refused when a site would have to be taken out of traffic and cannot be, or when nothing planned
    begins now; Unreachable when a machine cannot be compared or the ensemble lets nobody in. ``--together``
    asks neither of sites nor of the ensemble.
    """
    from dcctl import wiring
    from dcctl.engines import rollout
    from dcctl.engines.traffic import put_back, take_out
    from dcctl.shell import at_once
    from dcctl.wiring import rollout as wired
    from dcctl.wiring import traffic as wired_traffic

    ask = partial(at_once, limit_s=LOOK_LIMIT_S)
    configuration, targets = stage.configuration, wiring.targets(stage.configuration)
    together = together or wired.why_together(configuration)
    sites = () if together else wired.sites_now(configuration, ask)
    closed = why_closed(configuration.rules.as_rules().change_window, clock.now())
    decide = partial(
        decide_rollout, stage.deployment, targets, sites=sites, closed=closed, overrides=stage.overrides
    )
    at_most = decide(changed=stage.deployment.machines, together=together)
    if together and isinstance(at_most, Refusal):
        raise _refused(stage, at_most)
    if isinstance(at_most, Rollout) and at_most.together:
        says, waived = at_most.sentence(), at_most.overridden
        yield Prepared(says, lambda _journal: _together(stage, means, accepted), overridden=waived)
        return
    quiet = replace(means, watch=lambda what: means.watch(what) if isinstance(what, Doing) else None)
    compared, changed = rollout.observe_changed(stage.deployment, quiet)
    plan = decide(changed=changed)
    if isinstance(plan, Refusal):
        raise _refused(stage, plan)
    with wired_traffic.stage(configuration, clock=clock, ask=ask) as traffic:

        def work(journal: "Journal") -> "Work[Deployed]":
            # A deploy that was begun goes on: what had to wait for its time has had it.
            back = replace(traffic.means(journal), resumed=True)
            headroom = (each for each in stage.overrides if each.rule is Rule.SURVIVOR_HAS_HEADROOM)
            out = replace(back, overrides=tuple(headroom))
            rolling = rollout.Means(
                deploy=means,
                accepted=accepted,
                ready=wired.ready(configuration, ask),
                health=wired.health(configuration),
                drain=lambda site: take_out(site, out, reason=TAKEN_OUT),
                undrain=lambda site: put_back(site, back, reason="a deploy has configured it"),
            )
            return rollout.roll_out(plan, stage.deployment, compared, rolling)

        # Of its steps the ensemble keeps none: they end with this process, and no later run waits for them.
        yield Prepared(
            plan.sentence(),
            work,
            acting=lambda journal: traffic.acting(journal, stage.command),
            overridden=plan.overridden,
        )


def _refused(stage: "Stage", refusal: Refusal) -> Refused:
    zero = all(rule_of(each) == Rule.NEVER_ZERO_ACTIVE for each in refusal.reasons)
    return Refused(
        "deploy",
        on=stage.configuration.environment,
        reasons=refusal.reasons,
        next_command=f"{stage.command} --together" if zero else "dcctl status",
    )


def _together(stage: "Stage", means: "Means", accepted: "Accepted") -> "Work[Deployed]":
    from dcctl.domain.step import Step
    from dcctl.engines.deploy import deploy
    from dcctl.engines.rollout import KEEP_LIMIT_S

    deployed: Deployed = yield from deploy(stage.deployment, means)
    yield Step(
        "remember as accepted",
        stage.configuration.environment,
        KEEP_LIMIT_S,
        lambda: accepted.keep(stage.deployment),
    )
    return deployed
