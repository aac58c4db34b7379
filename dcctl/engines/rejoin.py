"""A database of a returned site comes to follow the primary: waited for, started anew, or copied anew."""

from collections.abc import Callable
from dataclasses import replace

from dcctl.domain.plan import Planned
from dcctl.domain.rejoin import REBUILD, REWIND, decide_rejoined, why_not_touched
from dcctl.domain.situation import Situation
from dcctl.domain.step import Step, Wait, Work
from dcctl.engines.look import Looks
from dcctl.engines.situation import Means, observe_situation, until_none
from dcctl.errors import TimedOut

BY_ITSELF_S = 45.0
"""Several rounds of Patroni's, in which it finds out by itself and rewinds."""
ASK_LIMIT_S = 60.0
STEPS = (REWIND, REBUILD)


def rejoin(step: Planned, site: str, means: Means, looks: Looks[Situation]) -> Work[None]:
    """Carry out one of the plan's ``STEPS``. Raises TimedOut where the database does not follow then."""
    if step.name == REWIND and (yield from _follows_by_itself(step, means)):
        return
    ask = {REWIND: means.switch.start_anew, REBUILD: means.switch.rebuild}[step.name]
    saw = yield Step(
        f"{step.name}: {step.effect}",
        step.target,
        ASK_LIMIT_S,
        lambda: _asked(lambda: ask(step.target, limit_s=ASK_LIMIT_S)),
        of=step.name,
        no_return=step.no_return,
        needs=looks.needs(lambda situation: why_not_touched(site, situation)),
    )
    means.note(f"admission.{step.name}", member=step.target, saw=saw)
    try:
        yield _followed(step, means)
    except TimedOut as error:
        if step.name == REWIND:
            error.next_command = f"{means.dcctl} admit {site} --rebuild"
        raise


def _follows_by_itself(step: Planned, means: Means) -> Work[bool]:
    alone = replace(step, name="a rewind by Patroni alone", limit_s=BY_ITSELF_S)
    try:
        yield _followed(alone, means)
    except TimedOut:
        return False
    return True


def _followed(step: Planned, means: Means) -> Wait:
    return until_none(step, lambda: decide_rejoined(step.target, observe_situation(means)))


def _asked(ask: Callable[[], str]) -> str:
    """An answer that did not come is for the next look to tell."""
    try:
        return ask()
    except TimedOut as error:
        return error.sentence()
