"""A failover whose site comes back before it is given up, or is back when its run is resumed. Pure.

| the site | no way back was begun | its state | the leader key | decided |
|---|---|---|---|---|
| not clearly back | whatever | whatever | whatever | nothing: as any failover, reasons are waited for |
| clearly back | no | whatever | whatever | overtaken: nothing was moved |
| clearly back | yes | not quarantined | whatever | overtaken: nobody is given up |
| clearly back | yes | quarantined | the site's, which runs as primary | overtaken: it stays quarantined |
| clearly back | yes | quarantined | the survivor's, which has written ``/sync`` since | the rest of it |
| clearly back | yes | quarantined | nobody's, or not that clear | nothing |

*Clearly back*: it is UP or DEGRADED (``domain.verdict``), two places see it just now, nobody who looked sees
it down, and a database of it answers. Overtaken is over for good: should the site be lost again, a new
failover looks at it anew. The rest quarantines nobody and switches nothing off: it proves what was begun.
"""

from dcctl.domain.failover import decide_rest, is_led_by_survivor, why_not_lost
from dcctl.domain.plan import Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import Reason, Rule
from dcctl.domain.situation import Situation, why_no_quorum
from dcctl.domain.status import UNREACHABLE
from dcctl.domain.traffic import Rotation
from dcctl.domain.verdict import VANTAGES_NEEDED, Sight, Verdict


def decide_returned(lost: str, situation: Situation, *, passed: bool) -> Plan | Refusal | None:
    """The rest of the failover of ``lost``, or why it is over, or None where it is decided as any other.

    ``passed``: its journal has the begin of a step from which there is no way back.
    """
    if not is_back(lost, situation):
        return None
    state = situation.state_of(lost).state
    if not passed:
        return _over(lost, situation, "nothing of this failover was begun that has no way back")
    if state is not Rotation.QUARANTINED:
        return _over(lost, situation, f"{lost} is {state}: it is not given up")
    if (leader := _primary_at(lost, situation)) is not None:
        return _over(lost, situation, f"{leader} has the leader key and is primary: nobody was promoted")
    led = not situation.status.database.members or is_led_by_survivor(lost, situation)
    return decide_rest(lost, situation) if led else None


def is_back(lost: str, situation: Situation) -> bool:
    """Whether ``lost`` lives beyond doubt; what cannot be read is a doubt."""
    if why_no_quorum(situation):
        return False
    if situation.verdict_of(lost).verdict not in (Verdict.UP, Verdict.DEGRADED):
        return False
    sights = [(place, sight) for _name, place, sight in situation.sights_of(lost)]
    if any(sight is Sight.DOWN for _place, sight in sights):
        return False
    if len({place for place, sight in sights if sight is Sight.UP}) < VANTAGES_NEEDED:
        return False
    databases = [each for each in situation.status.database.members if each.place == lost]
    return not databases or any(each.state != UNREACHABLE for each in databases)


def _primary_at(lost: str, situation: Situation) -> str | None:
    """The database of ``lost`` that has the leader key and says itself, alone, that it is primary."""
    leader = situation.cluster.value.leader if situation.cluster.value else None
    alone = situation.status.database.primaries == (leader,)
    return leader if situation.places.get(leader or "") == lost and alone else None


def _over(lost: str, situation: Situation, why: str) -> Refusal:
    reasons = [*why_not_lost(lost, situation), Reason(Rule.ONLY_A_LOST_SITE, why)]
    if situation.state_of(lost).state is Rotation.QUARANTINED:
        told = f"{lost} stays quarantined until it is admitted"
        reasons.append(Reason(Rule.ONLY_A_LOST_SITE, told))
    return Refusal(tuple(reasons))
