"""What the person does who is called in a drill: the engines that the commands run, as soon as they may."""

from collections.abc import Callable
from dataclasses import dataclass

from dcctl.domain.admission import decide_admission
from dcctl.domain.failover import decide_failover
from dcctl.domain.plan import Moved, Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.situation import Situation
from dcctl.domain.step import Wait, Work
from dcctl.domain.traffic import Rotation
from dcctl.engines.admission import admit
from dcctl.engines.failover import failover
from dcctl.engines.situation import LOOK_EVERY_S, Means, observe_situation
from dcctl.errors import Refused, Unreachable

EVIDENCE_LIMIT_S = 90.0
"""For enough vantages to see that a site is lost."""
READY_LIMIT_S = 180.0
"""For a returned site to have caught up, so that it may be admitted."""
ADMISSIONS = 5
"""How often a site that had caught up may be behind again at the look that counts."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A person with dcctl at hand, over ``means``."""

    means: Means

    def fail_over(self, lost: str) -> Work[Moved]:
        """Look until the evidence suffices, then give up ``lost`` by the plan."""
        yield self._until_allowed(
            f"evidence that {lost} is lost",
            lost,
            EVIDENCE_LIMIT_S,
            lambda: decide_failover(lost, observe_situation(self.means, losing=lost)),
        )
        return (yield from failover(lost, self.means))

    def admit(self, site: str) -> Work[None]:
        """Look until ``site`` has caught up, then put it back into rotation; one that is in it is done."""
        situations: list[Situation] = []

        def decide() -> Plan | Refusal | None:
            situations[:] = [observe_situation(self.means, epochs=True, compare=True)]
            if situations[0].states.value is None:
                return Refusal((f"the sites' states cannot be read: {situations[0].states.reason}",))
            if situations[0].state_of(site).state is Rotation.ACTIVE:
                return None
            return decide_admission(site, situations[0])

        for last in (*(False,) * (ADMISSIONS - 1), True):
            yield self._until_allowed(f"{site} may be admitted", site, READY_LIMIT_S, decide)
            if situations[0].state_of(site).state is Rotation.ACTIVE:
                return
            try:
                yield from admit(site, self.means)
            except Refused:
                # Nothing was changed: a document came in between two looks, and is being replicated.
                if last:
                    raise
            else:
                return

    def _until_allowed(
        self, name: str, site: str, limit_s: float, decide: Callable[[], Plan | Refusal | None]
    ) -> Wait:
        said: list[str] = []

        def until() -> bool | None:
            try:
                decided = decide()
            except Unreachable as error:
                said[:] = [error.sentence()]
                return None
            said[:] = decided.reasons if isinstance(decided, Refusal) else []
            return None if said else True

        return Wait(name, site, limit_s, LOOK_EVERY_S, until, lambda: "; ".join(said[:5]))
