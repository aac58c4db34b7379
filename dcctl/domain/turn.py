"""The steps by which a site is taken out of rotation, or put back. Pure."""

from dcctl.domain.plan import Planned
from dcctl.domain.traffic import Rotation, RotationPlan

WRITTEN, APPLIED, IDLE = "written", "applied", "idle"
CHANGE_LIMIT_S = 10.0
APPLY_LIMIT_S = 60.0
"""Until every edge that answers shows it."""
IDLE_LIMIT_S = 60.0
"""Until what was in flight has ended; a client that follows a live auction is in flight all the time."""


def turn_steps(plan: RotationPlan, *, idle_limit_s: float = IDLE_LIMIT_S) -> tuple[Planned, ...]:
    """In the order in which they are carried out; what is written already is not written again."""
    into = plan.to is Rotation.ACTIVE
    steps = []
    if plan.change:
        proof = f"its state in ZooKeeper is {plan.to}, by compare-and-set"
        back = f"dcctl {'drain' if into else 'undrain'} {plan.site}"
        steps.append(Planned(WRITTEN, plan.site, proof, CHANGE_LIMIT_S, way_back=back))
    edges = " and ".join(plan.edges) or "no edge"
    shown = f"{edges} and the agent there show it {'in' if into else 'out of'} rotation"
    steps.append(Planned(APPLIED, plan.site, shown, APPLY_LIMIT_S))
    if not into:
        steps.append(Planned(IDLE, plan.site, "no edge has anything of it in flight", idle_limit_s))
    return tuple(steps)
