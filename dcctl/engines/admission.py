"""Admission, carried out: a returned site's state becomes active, and the edges are seen to follow."""

from typing import Any

from dcctl.domain.admission import decide_admission, decide_applied, why_not_admitted
from dcctl.domain.plan import Moved
from dcctl.domain.step import Work
from dcctl.domain.traffic import Rotation
from dcctl.engines.look import Looks
from dcctl.engines.rejoin import STEPS, rejoin
from dcctl.engines.situation import (
    Means,
    change_state,
    note_overrides,
    observe_situation,
    planned_by,
    until_none,
)

DECIDE_LIMIT_S = 30.0


def admit(site: str, means: Means, *, rebuild: bool = False) -> Work[Moved]:
    """Put ``site`` back into rotation, once its databases follow; with ``rebuild`` those that do not are
    copied anew. Raises Refused with every reason, changing nothing."""

    looks = Looks(lambda: observe_situation(means, epochs=True, compare=True), means.now)

    def decide() -> Any:
        return decide_admission(site, looks.look(), rebuild=rebuild), ()

    plan = yield from planned_by(means, "the admission", site, DECIDE_LIMIT_S, decide)
    note_overrides(plan, means)
    means.note("admission.decided", site=site, steps=plan.journalled())
    for step in (each for each in plan.steps if each.name in STEPS):
        yield from rejoin(step, site, means, looks)
    yield change_state(
        means,
        plan.step("admit"),
        Rotation.ACTIVE,
        "admitted",
        from_any_of=(Rotation.QUARANTINED,),
        needs=looks.needs(lambda situation: why_not_admitted(site, situation)),
    )
    means.note("admission.admitted", site=site)
    yield until_none(plan.step("in rotation"), lambda: decide_applied(site, observe_situation(means)))
    return Moved(plan, plan.primary)
