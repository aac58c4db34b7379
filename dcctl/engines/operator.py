"""What the person does who is called in a drill: the engines that the commands run, as soon as they may."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dcctl.domain.automation import LastAction
from dcctl.domain.plan import Moved
from dcctl.domain.step import Wait, Work
from dcctl.domain.traffic import Rotation
from dcctl.engines.admission import admit
from dcctl.engines.failover import failover
from dcctl.engines.situation import LOOK_EVERY_S, Means
from dcctl.engines.switchover import switchover
from dcctl.errors import Refused, Unreachable
from dcctl.ports import Automations

EVIDENCE_LIMIT_S = 90.0
"""For enough vantages to see that a site is lost."""
READY_LIMIT_S = 180.0
"""For a returned site to have caught up, so that it may be admitted."""
GIVEN_UP_LIMIT_S = 150.0
"""For the controller to see that a site is lost, and to have given it up."""
OTHER_RUN_LIMIT_S = 60.0
"""For whoever else acts, or was killed while it did, to have no right to any more."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A person with dcctl at hand, over ``means``."""

    means: Means

    def fail_over(self, lost: str) -> Work[Moved]:
        """Give up ``lost`` by the plan, as soon as the evidence suffices."""
        return (yield from failover(lost, replace(self.means, patience_s=EVIDENCE_LIMIT_S)))

    def switch_over(self, to: str) -> Work[Moved]:
        """Move what the other site holds to ``to``, as soon as nothing stands against it."""
        return (yield from switchover(to, replace(self.means, patience_s=EVIDENCE_LIMIT_S)))

    def admit(self, site: str) -> Work[None]:
        """Put ``site`` back into rotation as soon as it has caught up; one that is in it is done."""

        def state() -> Rotation | None:
            try:
                return next(each.state for each in self.means.states.observe_sites() if each.site == site)
            except Unreachable:
                return None

        now = yield Wait(f"what is wanted of {site}", site, READY_LIMIT_S, LOOK_EVERY_S, state)
        if now is not Rotation.ACTIVE:
            yield from admit(site, replace(self.means, patience_s=READY_LIMIT_S))


def right_to_act(take: Callable[[], Means], site: str) -> Work[Means]:
    """Take the right to act as soon as nobody else has it; ``take`` raises Refused while somebody has."""
    said: list[str] = []

    def until() -> Means | None:
        try:
            return take()
        except Refused as error:
            said[:] = error.reasons
            return None

    means: Means = yield Wait(
        "no other run acts", site, OTHER_RUN_LIMIT_S, 2.0, until, lambda: "; ".join(said), undo=True
    )
    return means


@dataclass(frozen=True, slots=True)
class Onlooker:
    """A person who lets the controller act: looks on while it gives a site up, and admits the site later.

    ``before`` is the last automatic failover that there was. ``take`` gives the right to act, which the
    controller must be able to have until then; it raises Refused while another has it.
    """

    automation: Automations
    before: LastAction | None
    take: Callable[[], Means]

    def fail_over(self, lost: str) -> Work[LastAction]:
        """Until the controller has given ``lost`` up."""
        said = ["the controller has begun nothing"]

        def until() -> LastAction | None:
            try:
                last = self.automation.observe_last()
            except Unreachable as error:
                said[0] = error.sentence()
                return None
            if last is None or last == self.before or last.site != lost:
                return None
            told = {None: "is not over", False: "did not end well, and is gone on with", True: "is done"}
            what = f"was {last.sentence()}" if last.aborted else told[last.done]
            said[0] = f"its failover of {lost} ({last.run or 'no run yet'}) {what}"
            return last if last.done else None

        last: LastAction = yield Wait(
            f"the controller to give {lost} up", lost, GIVEN_UP_LIMIT_S, LOOK_EVERY_S, until, lambda: said[0]
        )
        return last

    def switch_over(self, to: str) -> Work[Moved]:
        """Nobody does that by itself: Refused."""
        raise Refused(f"switch over to {to}", reasons=("the controller moves nothing that is not lost",))

    def admit(self, site: str) -> Work[None]:
        """Put ``site`` back as ``Operator.admit`` does, once the controller has ended."""
        means = yield from right_to_act(self.take, site)
        yield from Operator(means).admit(site)
