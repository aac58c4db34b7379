"""The invariants, judged by what was acknowledged. Pure: over a history and what the store has in the end."""

import itertools
from collections.abc import Sequence

from dcctl.testing.simulation.database import Entry, Outcome
from dcctl.testing.simulation.history import History, RunRecord, Work, Write


def breaches(history: History, wal: Sequence[Entry], *, settled: str) -> tuple[str, ...]:
    """Every breach of a promise, as a sentence. ``settled``: why the healed system did not come to rest."""
    found = [f"{sentence} (at {at_s:.1f} s)" for at_s, sentence in history.breaches]
    found += lost_writes(history.writes, wal)
    found += two_writers(history.writes)
    found += stored_work(wal)
    found += acting_work(history.work)
    if settled:
        found.append(f"healed, and not at rest: {settled}")
    else:
        found += unended(history.runs)
    return tuple(found)


def lost_writes(writes: Sequence[Write], wal: Sequence[Entry]) -> list[str]:
    """Promise 4: every acknowledged write is there in the end."""
    there = {entry.about[0] for entry in wal if entry.kind == "write"}
    return [
        f"write {each.number}, acknowledged by {each.site} at {each.ended_s:.1f} s, is lost"
        for each in writes
        if each.outcome is Outcome.OK and each.number not in there
    ]


def two_writers(writes: Sequence[Write]) -> list[str]:
    """Promise 1: once a newer timeline has acknowledged, nothing that begins later is acknowledged on an
    older one."""
    first: dict[int, float] = {}
    for each in writes:
        if each.outcome is Outcome.OK:
            first[each.timeline] = min(first.get(each.timeline, each.ended_s), each.ended_s)
    return [
        f"{each.site} acknowledged on timeline {each.timeline} what began at {each.began_s:.1f} s;"
        f" timeline {timeline} acknowledged since {since_s:.1f} s"
        for each in writes
        if each.outcome is Outcome.OK
        for timeline, since_s in first.items()
        if timeline > each.timeline and since_s < each.began_s
    ]


def stored_work(wal: Sequence[Entry]) -> list[str]:
    """Promises 1 and 2, by the store's own record: work stands there only under the epoch in force."""
    found, inforce = [], dict[object, int]()
    for kind, about in wal:
        if kind == "epoch":
            role, number = about
            assert isinstance(number, int)
            if number < inforce.get(role, 0):
                found.append(f"{role}: epoch {number} is put in force after {inforce[role]}")
            inforce[role] = number
        elif kind == "work" and about[1] != inforce.get(about[0]):
            found.append(f"{about[0]}: work under epoch {about[1]}, and {inforce.get(about[0])} is in force")
    return found


def acting_work(work: Sequence[Work]) -> list[str]:
    """Promise 1 for work that no store checks: epochs never fall from one act to the next."""
    found = []
    for role in sorted({each.role for each in work if not each.stored}):
        acts = sorted((each for each in work if each.role == role), key=lambda each: each.ended_s)
        found += [
            f"{role}: {later.site} acts under epoch {later.epoch} at {later.ended_s:.1f} s,"
            f" after {earlier.site} under {earlier.epoch}"
            for earlier, later in itertools.pairwise(acts)
            if later.epoch < earlier.epoch
        ]
    return found


def unended(runs: Sequence[RunRecord]) -> list[str]:
    """After healing every run becomes terminal, by whoever took it last: a process that lost it may not have
    heard of that yet."""
    last = {each.run: each for each in runs}
    return [f"{each.run} ({each.words}) never ended" for each in last.values() if not each.ended]
