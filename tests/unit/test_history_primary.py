"""Who acknowledged: each checker on a history that deserves no finding, and on one broken on purpose."""

from dataclasses import replace

import pytest
from histories import history, read, write
from hypothesis import given
from hypothesis import strategies as st

from dcctl.domain.history import History, Phase, Record, from_fields, to_fields
from dcctl.domain.history_primary import PrimaryFindings, check_primary
from dcctl.domain.history_report import decide_history_checks

EAST, WEST = "192.0.2.1", "192.0.2.2"
SERVERS = {EAST: "east", WEST: "west"}


def ack(row: int, at_s: float, by: str, epoch: int | None, *, took_s: float = 0.01) -> list[Record]:
    invoke, end = write(row, at_s, took_s=took_s)
    return [invoke, replace(end, by=by, epoch=epoch)]


def told(*parts: list[Record]) -> History:
    rows = {each.row for part in parts for each in part if each.row is not None}
    return replace(history(*parts, read(1000, 99.0, rows)), servers=SERVERS)


def moved() -> list[list[Record]]:
    """East acknowledges, then west after a promotion, then east again after a switchover home."""
    return [
        ack(1, 0.0, EAST, 1),
        ack(2, 1.0, EAST, 1),
        ack(3, 5.0, WEST, 2),
        ack(4, 6.0, WEST, 2),
        ack(5, 8.0, EAST, 3),
        ack(6, 9.0, EAST, 3),
    ]


def test_a_primary_that_moved_there_and_back_has_no_finding() -> None:
    found = check_primary(told(*moved()))
    assert (found.overlapped, found.fell, found.unattributed) == ((), (), ())
    assert [(term.site, term.epoch, term.writes) for term in found.terms] == [
        ("east", 1, 2),
        ("west", 2, 2),
        ("east", 3, 2),
    ]


def test_a_site_that_acknowledges_while_the_other_does_is_found_whatever_the_epochs() -> None:
    for epoch in (1, 2):
        broken = told(ack(1, 0.0, EAST, 1), ack(2, 1.0, WEST, epoch), ack(3, 2.0, EAST, 1))
        assert 2 in check_primary(broken).overlapped


def test_two_servers_in_one_epoch_are_found_although_they_followed_each_other() -> None:
    broken = told(ack(1, 0.0, EAST, 1), ack(2, 1.0, EAST, 1), ack(3, 5.0, WEST, 1))
    assert check_primary(broken).overlapped == (3,)


def test_an_epoch_that_fell_is_found() -> None:
    """A cut-off primary that goes on after its successor began."""
    broken = told(*moved(), ack(7, 10.0, WEST, 2))
    assert check_primary(broken).fell == (7,)


def test_an_answer_that_was_long_under_way_is_no_finding() -> None:
    """Its write may have happened before the promotion: nothing is certain."""
    slow = told(ack(1, 0.0, EAST, 1), ack(2, 1.0, EAST, 1, took_s=6.0), ack(3, 5.0, WEST, 2))
    assert check_primary(slow) == replace(check_primary(slow), overlapped=(), fell=())


@pytest.mark.parametrize(("by", "epoch"), [("", 1), (EAST, None), ("203.0.113.9", 1)])
def test_an_acknowledgement_of_nobody_knows_whom_proves_nothing(by: str, epoch: int | None) -> None:
    assert check_primary(told(ack(1, 0.0, by, epoch))).unattributed == (1,)


def test_what_was_not_acknowledged_is_nobodys() -> None:
    failed = told(ack(1, 0.0, EAST, 1), write(2, 1.0, Phase.UNKNOWN), write(3, 2.0, Phase.FAIL))
    assert check_primary(failed).unattributed == ()


def test_a_history_of_before_tells_nothing_of_it() -> None:
    assert check_primary(history(write(1, 0.0))) == PrimaryFindings(told=False)


def test_a_broken_history_does_not_pass_its_checks() -> None:
    assert all(each.held for each in decide_history_checks(told(*moved())))
    for broken, name in (
        (told(ack(1, 0.0, EAST, 1), ack(2, 1.0, WEST, 1), ack(3, 2.0, EAST, 1)), "one site acknowledges"),
        (told(*moved(), ack(7, 10.0, WEST, 2)), "in an older epoch"),
        (told(ack(1, 0.0, "", None)), "one site acknowledges"),
        (replace(told(*moved()), records=told(*moved()).records[:-2]), "acknowledged writes lost"),
        (told(*moved(), read(50, 20.0, {1, 2, 77}, window=(1, 90))), "rows that vanished"),
    ):
        against = [each.name for each in decide_history_checks(broken) if not each.held]
        assert any(name in each for each in against), (name, against)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 3.0)), min_size=1, max_size=30))
def test_a_database_with_one_primary_at_a_time_is_never_accused(writes: list[tuple[bool, float]]) -> None:
    """Each write takes effect when it is invoked; its answer may take long. ``True``: it moves first."""
    epoch, by, parts = 1, EAST, []
    for row, (moves, took_s) in enumerate(writes):
        if moves:
            epoch, by = epoch + 1, WEST if by == EAST else EAST
        parts.append(ack(row, float(row), by, epoch, took_s=took_s))
    found = check_primary(told(*parts))
    assert (found.overlapped, found.fell) == ((), ())


def test_a_stored_acknowledgement_reads_back_as_itself() -> None:
    for record in told(*moved()).records:
        assert from_fields(to_fields(record)) == record
