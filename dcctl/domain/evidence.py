"""From one look at everything to what is to be thought of each site: the same for a status and for a move.

Pure. The table is ``domain.verdict``'s; here is what of a look speaks for or against a site.
"""

from collections.abc import Sequence

from dcctl.domain.machine import Power
from dcctl.domain.observation import Seen, VoterMode
from dcctl.domain.status import UNREACHABLE, Status
from dcctl.domain.verdict import OPERATOR, Evidence, Sight, SiteVerdict, Vantage, decide_verdict


def decide_site_verdict(
    site: str,
    status: Status,
    vantages: Seen[tuple[Vantage, ...]],
    *,
    witness: bool,
    place: str = OPERATOR,
) -> SiteVerdict:
    """What ``site`` is, by a look that was taken at ``place`` and what the ``vantages`` published.

    Who could not read what they published has no quorum. ``witness``: whether one is configured.
    """
    machines = [each for each in status.machines if each.place == site]
    return decide_verdict(
        Evidence(
            site=site,
            place=place,
            own=own_sight(site, status),
            vantages=vantages.value or (),
            quorum=vantages.value is not None,
            witness=witness,
            answers=answers_of(site, status),
            voters=voters_of(site, status),
            runs=any(each.power is Power.ON for each in machines),
            troubles=tuple(f"{each.name} does not answer here" for each in machines if not each.reachable),
        )
    )


def decide_site_verdicts(
    status: Status, vantages: Seen[tuple[Vantage, ...]], *, witness: bool
) -> tuple[SiteVerdict, ...]:
    """What every site is, as a person's own look shows it."""
    names: Sequence[str] = [each.name for each in status.sites]
    return tuple(decide_site_verdict(name, status, vantages, witness=witness) for name in names)


def answers_of(site: str, status: Status) -> tuple[str, ...]:
    """What answered from ``site``: machines over SSH, databases, voters, edges."""
    found = {each.name for each in status.machines if each.place == site and each.reachable}
    found |= {
        each.name for each in status.database.members if each.place == site and each.state != UNREACHABLE
    }
    found |= {each.name for each in status.voters if each.place == site and each.mode != UNREACHABLE}
    found |= {each.name for each in status.edges if each.place == site and each.up}
    return tuple(sorted(found))


def own_sight(site: str, status: Status) -> Sight:
    """What was seen of ``site`` from where the look was taken."""
    return Sight.UP if answers_of(site, status) else Sight.DOWN


def voters_of(site: str, status: Status) -> tuple[str, ...]:
    """Voters of ``site`` that belong to the quorum."""
    modes = (VoterMode.LEADER, VoterMode.FOLLOWER)
    return tuple(each.name for each in status.voters if each.place == site and each.mode in modes)
