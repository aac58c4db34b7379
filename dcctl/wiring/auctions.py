"""The auctions that a move may be too late for, composed."""

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcctl.config.schema import Configuration
    from dcctl.domain.expected import Rounds
    from dcctl.domain.observation import Seen
    from dcctl.engines.status import Ask

LIMIT_S = 2.0


def rounds(configuration: "Configuration", ask: "Ask", *, lost: str | None = None) -> "Seen[Rounds] | None":
    """What an application knew last of the rounds that are due, or why none tells; None where none runs.

    Those at a site that is ``lost`` are not waited for.
    """
    from dcctl.adapters import http
    from dcctl.adapters.auctions import observe_rounds
    from dcctl.config import expand
    from dcctl.domain.expected import decide_rounds

    machines = [each for each in expand.with_role(configuration, "procurement") if each.place != lost]
    if not machines:
        return None
    return decide_rounds(
        ask(
            {
                each.name: partial(observe_rounds, each.address, get=http.get, limit_s=LIMIT_S)
                for each in machines
            }
        )
    )
