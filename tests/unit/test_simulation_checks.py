"""Each checker of the simulation can fail, and does not fail what keeps the promise."""

from dataclasses import replace

import pytest

from dcctl.testing.simulation.broken import CATALOGUE
from dcctl.testing.simulation.checks import (
    acting_work,
    breaches,
    lost_writes,
    stored_work,
    two_writers,
    unended,
)
from dcctl.testing.simulation.database import Entry, Outcome
from dcctl.testing.simulation.history import History, RunRecord, Work, Write

OLD = Write(1, began_s=10.0, ended_s=10.1, outcome=Outcome.OK, site="east", timeline=1)
NEW = Write(2, began_s=20.0, ended_s=20.1, outcome=Outcome.OK, site="west", timeline=2)
THERE = [Entry("write", (1,)), Entry("write", (2,))]


def test_a_write_that_was_acknowledged_must_be_there() -> None:
    assert lost_writes([OLD, NEW], THERE) == []
    assert lost_writes([OLD, NEW], THERE[1:]) == ["write 1, acknowledged by east at 10.1 s, is lost"]
    for outcome in set(Outcome) - {Outcome.OK}:
        assert lost_writes([replace(OLD, outcome=outcome)], []) == []


@pytest.mark.parametrize(
    ("late", "found"),
    [
        (replace(OLD, began_s=20.2, ended_s=20.3), 1),
        (replace(OLD, began_s=20.2, ended_s=20.3, site="west"), 1),  # whoever it is
        (replace(OLD, began_s=19.0, ended_s=21.0), 0),  # it was under way when the newer one acknowledged
        (replace(OLD, began_s=20.2, ended_s=20.3, outcome=Outcome.UNKNOWN), 0),
        (replace(OLD, began_s=20.2, ended_s=20.3, timeline=2), 0),
    ],
)
def test_nothing_is_acknowledged_on_an_older_timeline(late: Write, found: int) -> None:
    assert len(two_writers([OLD, NEW, late])) == found


def epoch(number: int) -> Entry:
    return Entry("epoch", ("auction", number))


def work(number: int) -> Entry:
    return Entry("work", ("auction", number))


@pytest.mark.parametrize(
    ("wal", "found"),
    [
        ((epoch(1), work(1), epoch(2), work(2)), ""),
        ((epoch(1), epoch(2), work(1)), "work under epoch 1, and 2 is in force"),
        ((work(1),), "work under epoch 1, and None is in force"),
        ((epoch(2), epoch(1)), "epoch 1 is put in force after 2"),
        ((epoch(1), Entry("epoch", ("other", 9)), work(1)), ""),
    ],
)
def test_work_stands_in_the_store_under_the_epoch_in_force_alone(wal: tuple[Entry, ...], found: str) -> None:
    assert found in "; ".join(stored_work(wal))
    assert bool(stored_work(wal)) is bool(found)


def test_acts_never_fall_back_to_an_older_epoch() -> None:
    first = Work("auction", 1, 10.0, 10.1, "east", stored=False)
    second = Work("auction", 2, 20.0, 20.1, "west", stored=False)
    late = replace(first, began_s=20.2, ended_s=20.3)
    assert acting_work([first, second]) == []
    assert len(acting_work([late, first, second])) == 1
    stored = [replace(each, stored=True) for each in (first, second, late)]
    assert acting_work(stored) == [], "the store judges these"
    assert acting_work([first, second, replace(late, role="other")]) == []


def test_every_run_ends_once_all_is_healed() -> None:
    begun = RunRecord("r1", "failover apply --lost east", "ann", 10.0)
    ended = replace(begun, who="bob", ended="done")
    assert unended([begun]) == ["r1 (failover apply --lost east) never ended"]
    assert unended([begun, ended]) == [], "another took it over"
    history = History(runs=[begun])
    assert breaches(history, [], settled="") == ("r1 (failover apply --lost east) never ended",)
    assert breaches(history, [], settled="2 primaries") == ("healed, and not at rest: 2 primaries",)
    history.breach(12.0, "no site is active")
    assert "no site is active (at 12.0 s)" in breaches(history, [], settled="")


def test_what_must_be_caught_is_in_the_catalogue() -> None:
    assert len(CATALOGUE) >= 10
    assert len({each.name for each in CATALOGUE}) == len(CATALOGUE)
    assert {
        "fence check removed",
        "lease deadline from events",
        "epoch not checked in the store",
        "epoch checked without a row lock",
        "leader key deleted bare",
        "resume repeats without probing",
        "a warning counted as acknowledged",
    } <= {each.name for each in CATALOGUE}
