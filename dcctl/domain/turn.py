"""The steps by which a site is taken out of rotation, or put back. Pure."""

from dcctl.domain.budget import Past, decide_limits
from dcctl.domain.plan import Planned
from dcctl.domain.traffic import Rotation, RotationPlan

WRITTEN, APPLIED, IDLE = "written", "applied", "idle"
CHANGE_LIMIT_S = 10.0
APPLY_LIMIT_S = 60.0
"""Until every edge that answers shows it."""
IDLE_LIMIT_S = 60.0
"""Until what was in flight has ended; a client that follows a live auction is in flight all the time."""


def turn_steps(
    plan: RotationPlan, *, idle_limit_s: float = IDLE_LIMIT_S, past: Past | None = None
) -> tuple[Planned, ...]:
    """In the order in which they are carried out; what is written already is not written again.

    ``past``: what the last runs of the kind took. How long work in flight may take is said by whoever drains.
    """
    into = plan.to is Rotation.ACTIVE
    steps = []
    if plan.change:
        steps.append(
            Planned(
                WRITTEN,
                plan.site,
                f"its state in ZooKeeper is {plan.to}, by compare-and-set",
                CHANGE_LIMIT_S,
                effect=f"{plan.site} is written to be {plan.to}",
                needs="it is seen to serve" if into else "another site serves, and carries both",
                way_back=f"dcctl {'drain' if into else 'undrain'} {plan.site}",
            )
        )
    edges = " and ".join(plan.edges) or "no edge"
    shown = f"{edges} and the agent there show it {'in' if into else 'out of'} rotation"
    steps.append(Planned(APPLIED, plan.site, shown, APPLY_LIMIT_S))
    limited = decide_limits(steps, past)
    if into:
        return limited
    return (*limited, Planned(IDLE, plan.site, "no edge has anything of it in flight", idle_limit_s))
