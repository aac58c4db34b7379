"""Recordings, replayed through the models: what really happened and a model cannot do is a contradiction.

Three judges. *ZooKeeper*: each change of a node is carried out by the simulated ensemble, which must come to
the same version and the same kind of node. *Moves*: each change of Patroni's keys must be one that the
simulated Patroni makes in that situation (``moves``), or the end of a session, or our own release. *Answers*:
what the members said of themselves must be what the model would let them say.

The simulation's own histories, which ``recording.Tap`` writes, pass through the same.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from dcctl.testing.simulation import recording
from dcctl.testing.simulation.ensemble import ANY, Ensemble, Node
from dcctl.testing.simulation.moves import JUDGED, SESSION, Change, Held, Situation, frozen, next_changes
from dcctl.testing.simulation.network import DATABASES, Network
from dcctl.testing.simulation.ports import KEYS
from dcctl.testing.simulation.recording import Answer, Key, Recording
from dcctl.testing.simulation.scheduler import Scheduler

OK = 200
SEEN_S = 2.0
"""What was seen of the keys may be that much older than what a member said: it has another voter."""
ROLE_S = 12.0
"""A member that changes its role says so within this time before or after."""
PRIMARY = ("master", "primary")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``contradictions`` are sentences, empty is well; ``judged`` counts changes by what explains them."""

    contradictions: tuple[str, ...]
    judged: Mapping[str, int]
    answers: int


def replay(recorded: Recording) -> Verdict:
    """Judge a recording. Raises ValueError for one of more members than the models have."""
    if set(recorded.header.members) != set(DATABASES):
        recorded = recording.renamed(recorded, tuple(DATABASES))
    moves = _Moves(recorded)
    found = [*zookeeper(recorded.keys), *moves.contradictions(), *answers(recorded)]
    return Verdict(tuple(found), moves.judged, len(recorded.answers))


def is_ephemeral(key: str) -> bool:
    """Which of its keys Patroni makes for the time of a session."""
    return key == "leader" or key.startswith("members/")


# ZooKeeper.


def zookeeper(keys: Sequence[Key]) -> list[str]:
    """Every change, carried out by the simulated ensemble."""
    found: list[str] = []
    scheduler = Scheduler(0)
    ensemble = Ensemble(scheduler, Network(scheduler))
    before: dict[str, Key] = {}
    for line in keys:
        found += _carried_out(ensemble, before.get(line.key), line)
        before[line.key] = line
    return found


def _carried_out(ensemble: Ensemble, before: Key | None, line: Key) -> Iterator[str]:
    path = f"{KEYS}/{line.key}"
    there = ensemble.tree.get(path)
    if line.value is None:
        if there is not None:
            ensemble.commit(1, [("delete", path, ANY)])
        return
    if (line.owner != 0) is not is_ephemeral(line.key):
        yield _at(line, f"{line.key} is {'ephemeral' if line.owner else 'not ephemeral'}")
    if line.first:
        ensemble.put(path, Node(b"", line.version, line.zxid, line.owner, 0, line.czxid))
        return
    again = before is None or before.value is None or before.czxid != line.czxid
    if again:
        if there is not None:
            ensemble.commit(1, [("delete", path, ANY)])
        ensemble.commit(1, [("create", path, b"", bool(line.owner), True)])
    elif before is not None:
        if before.owner != line.owner:
            yield _at(line, f"{line.key} has another owner, and was not made anew")
        if before.zxid >= line.zxid:
            yield _at(line, f"{line.key} was changed by {line.zxid}, after {before.zxid}")
    changes = line.version - ensemble.tree[path].version
    if changes < 0 or (changes == 0 and not again):
        told = f"version {line.version} after {before.version if before else 0}"
        yield _at(line, f"{line.key} has {told}, and was not made anew")
    for _change in range(changes):
        ensemble.commit(1, [("set", path, b"", ensemble.tree[path].version)])
    if ensemble.tree[path].version != line.version and changes >= 0:
        yield _at(line, f"{line.key} has version {line.version}, the model {ensemble.tree[path].version}")


def _at(line: Key | Answer, sentence: str) -> str:
    return f"{line.s:.2f} s: {sentence}"


# Patroni's keys.


@dataclass
class _Moves:
    """The changes in the order of their zxids, each judged by the situation before it."""

    recorded: Recording
    judged: dict[str, int] = field(default_factory=dict)
    _now: dict[str, Key] = field(default_factory=dict)

    def contradictions(self) -> list[str]:
        found: list[str] = []
        order = [each for each in self.recorded.keys if _counts(each.key)]
        for line in sorted(order, key=lambda each: (not each.first, each.zxid, each.s)):
            before = self._now.get(line.key)
            again = line.key == "leader" and before is not None and before.czxid != line.czxid
            if line.key in JUDGED and not line.first and (again or frozen_of(before) != frozen_of(line)):
                found += self._judge(before, line)
            self._now[line.key] = line
        return found

    def _judge(self, before: Key | None, line: Key) -> Iterator[str]:
        if self._unseen(before, line):
            self._count("more than one change between two looks")
            return
        why = self._explained(line)
        if why:
            self._count(why)
            return
        situation = self._situation(line)
        told = {"leader": _told_leader, "sync": _told_sync, "failover": _told_failover}[line.key](
            before, line
        )
        yield _at(line, f"{told}: no member of the model does that ({_told(situation)})")

    def _count(self, what: str) -> None:
        self.judged[what] = self.judged.get(what, 0) + 1

    def _unseen(self, before: Key | None, line: Key) -> bool:
        """Whether the change is several at once, so that what lay between is not known."""
        if before is None or line.value is None or before.value is None:
            return line.value is not None and line.version > 0 and not is_ephemeral(line.key)
        return line.czxid != before.czxid or line.version > before.version + 1

    def _explained(self, line: Key) -> str:
        change = (line.key, frozen_of(line))
        if line.key == "leader" and line.value is None:
            if self._released(line):
                return "our release of the leader key"
            if self._session_ended(line):
                if not self._asked():
                    return "a session ends, and the leader key with it"
                return self._made_by((SESSION, self._now["leader"].value), self._with_its_session(line))
        return self._made_by(change, self._situation(line))

    def _made_by(self, change: Change, situation: Situation) -> str:
        by = next_changes(situation).get(change)
        return f"{change[0] if change[0] != SESSION else 'leader'}: {by}" if by else ""

    def _asked(self) -> bool:
        """Whether somebody has asked for a switchover, so that no session that ends has expired by chance."""
        failover = self._now.get("failover")
        return (
            failover is not None
            and isinstance(failover.value, Mapping)
            and bool(failover.value.get("member"))
        )

    def _session_ended(self, line: Key) -> bool:
        """The member's key of the same session went at the same time."""
        leader = self._now["leader"]
        lines = [each for each in self.recorded.keys if each.key == f"members/{leader.value}"]
        owned = [each for each in lines if each.value is not None and each.owner == leader.owner]
        if not owned:
            return True
        later = [each for each in lines if each.s > owned[-1].s]
        return bool(later) and later[0].after_s <= line.s and line.after_s <= later[0].s

    def _released(self, line: Key) -> bool:
        """``/sync`` was rewritten as it was, in the same transaction (``adapters.zookeeper.release``)."""
        syncs = [each for each in self.recorded.keys if each.key == "sync"]
        return any(
            now.zxid == line.zxid and frozen_of(before) == frozen_of(now) and before.czxid == now.czxid
            for before, now in pairwise(syncs)
        )

    def _situation(self, line: Key) -> Situation:
        keys = {
            key: Held(each.value, each.version, each.owner)
            for key, each in self._now.items()
            if each.value is not None
        }
        recorded = self.recorded
        return Situation(
            keys,
            {name: self._roles(name, line) for name in recorded.header.members},
            {name: self._location(name, line) for name in recorded.header.members},
        )

    def _with_its_session(self, line: Key) -> Situation:
        """The situation before the leader's session ended: all its keys went at once, whichever of them was
        seen to be gone first. A look reads them one after the other."""
        leader = self._now["leader"]
        own = f"members/{leader.value}"
        lines = [each for each in self.recorded.keys if each.key == own and each.owner == leader.owner]
        situation = self._situation(line)
        if not lines:
            return situation
        held = Held(lines[-1].value, lines[-1].version, leader.owner)
        return replace(situation, keys={**situation.keys, own: held})

    def _roles(self, name: str, line: Key) -> frozenset[str]:
        """What the member may have been when the key was changed, by what it said before and afterwards. Who
        takes the leader key is promoted by that: only what it said last before counts."""
        takes = line.key == "leader" and line.value is not None
        near = [
            "primary" if each.role in PRIMARY else "standby"
            for each in self.recorded.answers
            if each.member == name
            and each.code is not None
            and each.asked_s <= line.s + (0.0 if takes else ROLE_S)
            and each.s >= line.after_s - ROLE_S
        ]
        return frozenset(near[-1:] if takes else near) or frozenset({"primary", "standby"})

    def _location(self, name: str, line: Key) -> int:
        """How much of the log it last said that it has."""
        told = [
            each.location
            for each in self.recorded.answers
            if each.member == name and each.location is not None and each.s <= line.s
        ]
        return told[-1] if told else 0


def _counts(key: str) -> bool:
    return key in JUDGED or key.startswith("members/")


def frozen_of(line: Key | None) -> Any:
    return None if line is None else frozen(line.value)


def _told_leader(before: Key | None, line: Key) -> str:
    if line.value is None:
        return f"the leader key of {before.value if before else 'nobody'} is deleted, and its session lives"
    return f"{line.value} takes the leader key"


def _told_sync(before: Key | None, line: Key) -> str:
    was = json.dumps(before.value) if before is not None else "nothing"
    return f"/sync is {json.dumps(line.value)} after {was}"


def _told_failover(before: Key | None, line: Key) -> str:
    return f"/failover is {json.dumps(line.value)} after {json.dumps(before.value if before else None)}"


def _told(situation: Situation) -> str:
    keys = {key: each.value for key, each in situation.keys.items() if not key.startswith("members/")}
    roles = {name: "/".join(sorted(each)) for name, each in situation.roles.items()}
    return f"{json.dumps(keys, sort_keys=True)}, {roles}"


# What the members said.


def answers(recorded: Recording) -> list[str]:
    """By the members' own words against the keys."""
    return [
        *_leads_without_the_key(recorded),
        *_timelines(recorded),
        *_named_and_not_waited_for(recorded),
    ]


def _leads_without_the_key(recorded: Recording) -> Iterator[str]:
    """Whoever answers /primary has the key, or had it within its time to live."""
    held = [
        (name, since.after_s, until.s if until is not None else float("inf"))
        for since, until in _spans(recorded, "leader")
        if (name := since.value) is not None
    ]
    ttl_s = recorded.header.ttl_s
    for each in recorded.answers:
        if each.code == OK and not any(
            name == each.member and from_s - SEEN_S <= each.s and each.asked_s <= to_s + ttl_s + SEEN_S
            for name, from_s, to_s in held
        ):
            yield _at(each, f"{each.member} answers /primary, and has not had the leader key for {ttl_s:g} s")


def _spans(recorded: Recording, key: str) -> Iterator[tuple[Key, Key | None]]:
    """Each content of ``key`` and what came after it."""
    lines = [each for each in recorded.keys if each.key == key]
    yield from pairwise(lines)
    if lines:
        yield lines[-1], None


def _timelines(recorded: Recording) -> Iterator[str]:
    """One more for each promotion; each has one primary; who begins one wrote /sync first."""
    own: dict[str, int] = {}
    newest: tuple[int, str] | None = None
    for each in sorted(recorded.answers, key=lambda answer: answer.s):
        if each.role not in PRIMARY or not each.timeline:
            continue
        if each.timeline < own.get(each.member, 0):
            yield _at(each, f"{each.member} is primary on timeline {each.timeline} after {own[each.member]}")
        if newest is not None and each.timeline > newest[0]:
            if each.timeline != newest[0] + 1:
                yield _at(each, f"{each.member} begins timeline {each.timeline} after {newest[0]}")
            yield from _promoted_unannounced(recorded, each)
        if newest is not None and each.timeline == newest[0] and each.member != newest[1]:
            yield _at(each, f"{each.member} is primary on timeline {each.timeline} of {newest[1]}")
        own[each.member] = max(each.timeline, own.get(each.member, 0))
        if newest is None or each.timeline > newest[0]:
            newest = (each.timeline, each.member)


def _promoted_unannounced(recorded: Recording, answer: Answer) -> Iterator[str]:
    """A promotion comes after /sync was written in the new primary's name, without a standby."""
    for since, until in _spans(recorded, "sync"):
        mine = isinstance(since.value, Mapping) and since.value.get("leader") == answer.member
        if (
            mine
            and since.after_s <= answer.s + SEEN_S
            and (until is None or until.s >= answer.asked_s - ROLE_S)
        ):
            return
    yield _at(answer, f"{answer.member} was promoted, and has not written /sync")


def _named_and_not_waited_for(recorded: Recording) -> Iterator[str]:
    """Whom /sync names, PostgreSQL waits for: into its names before, out of them afterwards."""
    for since, until in _spans(recorded, "sync"):
        fields = since.value if isinstance(since.value, Mapping) else {}
        leader, standby = fields.get("leader"), fields.get("sync_standby")
        to_s = until.after_s if until is not None else float("inf")
        for each in recorded.answers if standby else ():
            inside = since.s <= each.asked_s and each.s <= to_s
            if inside and each.member == leader and each.role in PRIMARY:
                state = each.streaming.get(str(standby))
                if state is not None and state not in ("sync", "quorum", "potential"):
                    told = f"/sync names {standby}, and {leader} has it as {state}"
                    yield _at(each, told)


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m dcctl.testing.simulation.replay FILE…``"""
    parser = argparse.ArgumentParser(prog="python -m dcctl.testing.simulation.replay", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    code = 0
    for file in parser.parse_args(argv).files:
        verdict = replay(recording.read(Path(file)))
        print(f"{file}: {sum(verdict.judged.values())} changes, {verdict.answers} answers")
        for what, count in sorted(verdict.judged.items()):
            print(f"  {count:3} {what}")
        for each in verdict.contradictions:
            print(f"==> {each}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
