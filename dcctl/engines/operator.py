"""What the person does who is called in a drill: the engines that the commands run, as soon as they may."""

from dataclasses import dataclass, replace

from dcctl.domain.plan import Moved
from dcctl.domain.step import Wait, Work
from dcctl.domain.traffic import Rotation
from dcctl.engines.admission import admit
from dcctl.engines.failover import failover
from dcctl.engines.situation import LOOK_EVERY_S, Means
from dcctl.engines.switchover import switchover
from dcctl.errors import Unreachable

EVIDENCE_LIMIT_S = 90.0
"""For enough vantages to see that a site is lost."""
READY_LIMIT_S = 180.0
"""For a returned site to have caught up, so that it may be admitted."""


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
