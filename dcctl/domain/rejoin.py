"""How a database of a returned site comes to follow the primary: by itself, rewound, or copied anew. Pure.

Patroni rewinds what has to be rewound, and judges that when it starts a member. A primary that demoted
itself has stopped in good order before, with a checkpoint at the end of its log. Was it then switched off
before it was rewound, Patroni 3.0.2 goes by the control file: that says where this checkpoint begins, which
may be just where the old timeline ended (``Rewind._check_timeline_and_lsn``). The member then asks for a
timeline that is no more, for ever, and nobody looks again. Started once more, it is judged by what it
replayed.
"""

from dcctl.domain.failover import decide_promoted
from dcctl.domain.plan import Planned
from dcctl.domain.situation import Situation
from dcctl.domain.status import DatabaseStatus, MemberStatus
from dcctl.domain.traffic import Rotation

REWIND, REBUILD = "rewind", "rebuild"
REWIND_LIMIT_S = 180.0
REBUILD_LIMIT_S = 4 * 3600.0
"""A whole copy of the database over the link between the sites."""
LAG_AT_MOST_BYTES = 2**24


def decide_rejoin(site: str, situation: Situation, *, rebuild: bool = False) -> tuple[Planned, ...]:
    """A step for each database of ``site`` that runs on a timeline that has ended; with ``rebuild`` for each
    that does not follow, whatever the reason."""
    wanted = _does_not_follow if rebuild else _is_stranded
    database = situation.status.database
    if decide_promoted(situation.other(site), situation):
        return ()
    mine = (each for each in database.members if each.place == site)
    return tuple(_step(each, database, rebuild=rebuild) for each in mine if wanted(each, database))


def why_not_touched(site: str, situation: Situation) -> tuple[str, ...]:
    """Why no database of ``site`` may be stopped now, or removed: what it has may be all that there is."""
    reasons = []
    if situation.state_of(site).state is not Rotation.QUARANTINED:
        reasons.append(f"{site} is not quarantined any more")
    return (*reasons, *decide_promoted(situation.other(site), situation))


def why_behind(member: MemberStatus, database: DatabaseStatus) -> str:
    """Why ``member`` does not follow the primary as a synchronous standby; empty when it does."""
    if member.reason:
        return f"database {member.name} does not answer: {member.reason}"
    if member.role == "former primary":
        return f"{member.name} still calls itself primary"
    if member.name not in database.synchronous:
        return (
            f"{member.name} does not follow as a synchronous standby: it is {member.state}"
            f" on timeline {member.timeline}, the primary is on {database.timeline}"
        )
    if member.timeline != database.timeline:
        return f"{member.name} is on timeline {member.timeline}, the primary on {database.timeline}"
    if (member.lag_bytes or 0) > LAG_AT_MOST_BYTES:
        return f"{member.name} is {member.lag_bytes} bytes behind"
    return ""


def decide_rejoined(name: str, situation: Situation) -> tuple[str, ...]:
    """Why the database ``name`` does not follow yet."""
    database = situation.status.database
    told = (why_behind(each, database) for each in database.members if each.name == name)
    return tuple(reason for reason in told if reason)


def _is_stranded(member: MemberStatus, database: DatabaseStatus) -> bool:
    """By one look: Patroni may be about to rewind it, which is waited for before anything is done."""
    if member.timeline is None or database.timeline is None or member.timeline >= database.timeline:
        return False
    return member.role == "standby" and member.state == "running"


def _does_not_follow(member: MemberStatus, database: DatabaseStatus) -> bool:
    return member.role == "standby" and bool(why_behind(member, database))


def _step(member: MemberStatus, database: DatabaseStatus, *, rebuild: bool) -> Planned:
    proof = f"it follows {database.primary} as a synchronous standby"
    needs = f"{database.primary} leads, and {member.place} is quarantined"
    if rebuild:
        effect = f"what {member.name} has is removed, and {database.primary} copied anew"
        return Planned(
            REBUILD, member.name, proof, REBUILD_LIMIT_S, effect=effect, needs=needs, no_return=True
        )
    effect = f"unless it does so by itself, {member.name} is started anew, and so rewound"
    return Planned(REWIND, member.name, proof, REWIND_LIMIT_S, effect=effect, needs=needs)
