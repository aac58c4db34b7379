"""Every checker, on a history that deserves no finding and on one that is broken on purpose."""

from dataclasses import replace

import pytest
from histories import history, read, write
from hypothesis import given
from hypothesis import strategies as st

from dcctl.domain.history import (
    Action,
    Findings,
    History,
    Mark,
    Phase,
    Record,
    Reply,
    as_ranges,
    check,
    decide_outcome,
    from_fields,
    from_ranges,
    operations,
    to_fields,
)

GOOD = Findings(final_read=True)


def good() -> History:
    return history(
        write(1, 0.0),
        write(2, 0.1),
        write(3, 0.2, Phase.FAIL),
        write(4, 0.3, Phase.UNKNOWN),
        write(5, 0.4, Phase.UNKNOWN),
        read(100, 0.6, {1, 2, 4}, window=(1, 5)),
        read(101, 9.0, {1, 2, 4}),
    )


def test_a_true_history_has_no_finding() -> None:
    assert check(good()) == GOOD


def test_an_acknowledged_write_that_the_final_read_misses_is_lost() -> None:
    broken = history(write(1, 0.0), write(2, 0.1), read(100, 9.0, {1}))
    assert check(broken) == replace(GOOD, lost=(2,))


def test_an_unknown_write_that_is_absent_is_not_lost() -> None:
    assert check(history(write(1, 0.0, Phase.UNKNOWN), write(2, 0.1, None), read(100, 9.0, set()))) == GOOD


def test_a_row_once_read_must_not_vanish_even_when_it_was_never_acknowledged() -> None:
    broken = history(write(1, 0.0, Phase.UNKNOWN), read(100, 1.0, {1}, window=(1, 1)), read(101, 9.0, set()))
    assert check(broken) == replace(GOOD, vanished=(1,))


def test_a_row_that_nobody_wrote_is_a_phantom() -> None:
    assert check(history(write(1, 0.0), read(100, 9.0, {1, 77}))) == replace(GOOD, phantom=(77,))


def test_a_row_read_before_its_write_began_is_a_phantom() -> None:
    broken = history(write(1, 5.0), read(100, 1.0, {1}, window=(1, 1)), read(101, 9.0, {1}))
    assert check(broken) == replace(GOOD, phantom=(1,))


def test_two_acknowledgements_of_one_write_are_found() -> None:
    again = Record(0.5, 1, Action.WRITE, Phase.OK, "east", row=1)
    assert check(history(write(1, 0.0), [again], read(100, 9.0, {1}))) == replace(
        GOOD, acknowledged_twice=(1,)
    )


def test_two_operations_acknowledging_one_row_are_found() -> None:
    twin = [replace(each, op=99) for each in write(1, 0.5)]
    assert check(history(write(1, 0.0), twin, read(100, 9.0, {1}))).acknowledged_twice == (1,)


def test_a_failed_write_must_not_be_there() -> None:
    broken = history(write(1, 0.0, Phase.FAIL), read(100, 9.0, {1}))
    assert check(broken) == replace(GOOD, failed_yet_present=(1,))


def test_a_payload_other_than_the_one_written_is_found() -> None:
    final = [replace(each, altered=frozenset({2})) for each in read(100, 9.0, {1, 2})]
    assert check(history(write(1, 0.0), write(2, 0.1), final)) == replace(GOOD, altered=(2,))


def test_a_read_that_misses_an_earlier_acknowledged_row_is_stale() -> None:
    broken = history(write(1, 0.0), read(100, 1.0, set(), window=(1, 1)), read(101, 9.0, {1}))
    assert check(broken) == replace(GOOD, stale=(1,))


def test_a_read_that_misses_what_an_earlier_read_returned_is_stale() -> None:
    broken = history(
        write(1, 0.0, Phase.UNKNOWN),
        read(100, 1.0, {1}, window=(1, 1)),
        read(101, 2.0, set(), window=(1, 1)),
        read(102, 9.0, {1}),
    )
    assert check(broken) == replace(GOOD, stale=(1,))


def test_a_read_concurrent_with_a_write_may_miss_it() -> None:
    concurrent = history(write(1, 0.0, took_s=2.0), read(100, 1.0, set(), window=(1, 1)), read(101, 9.0, {1}))
    assert check(concurrent) == GOOD


def test_a_read_says_nothing_about_rows_outside_its_window() -> None:
    narrow = history(write(1, 0.0), read(100, 1.0, set(), window=(2, 9)), read(101, 9.0, {1}))
    assert check(narrow) == GOOD


def test_without_a_final_read_nothing_is_proven() -> None:
    assert check(history(write(1, 0.0))) == Findings(final_read=False)


def test_a_final_read_that_failed_proves_nothing() -> None:
    final = read(100, 9.0, set())
    assert not check(history(write(1, 0.0), [final[0], replace(final[1], phase=Phase.FAIL)])).final_read


def test_an_operation_without_an_end_is_unknown() -> None:
    (only,) = operations(history(write(1, 0.0, None)))
    assert (only.outcome, only.ended_s, only.saw) == (Phase.UNKNOWN, None, "no end was recorded")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Reply(sent=False), Phase.FAIL),
        (Reply(sent=False, severity="FATAL", sqlstate="57P03"), Phase.FAIL),
        (Reply(sent=True, succeeded=True), Phase.OK),
        (Reply(sent=True, succeeded=True, warnings=("01000",)), Phase.UNKNOWN),
        (Reply(sent=True, succeeded=True, warnings=("57P01",)), Phase.UNKNOWN),
        (Reply(sent=True, severity="ERROR", sqlstate="25006"), Phase.FAIL),
        (Reply(sent=True, severity="ERROR", sqlstate="57014"), Phase.FAIL),
        (Reply(sent=True, severity="ERROR", sqlstate="08007"), Phase.UNKNOWN),
        (Reply(sent=True, severity="ERROR", sqlstate="40003"), Phase.UNKNOWN),
        (Reply(sent=True, severity="FATAL", sqlstate="57P01"), Phase.UNKNOWN),
        (Reply(sent=True, severity="PANIC", sqlstate="57P02"), Phase.UNKNOWN),
        (Reply(sent=True, severity="ERROR", sqlstate=""), Phase.UNKNOWN),
        (Reply(sent=True), Phase.UNKNOWN),
    ],
)
def test_the_outcome_of_a_write(answer: Reply, outcome: Phase) -> None:
    assert decide_outcome(answer) is outcome


ROWS = st.lists(
    st.tuples(st.sampled_from([Phase.OK, Phase.FAIL, Phase.UNKNOWN, None]), st.booleans()),
    min_size=1,
    max_size=40,
)


def simulated(rows: list[tuple[Phase | None, bool]]) -> tuple[History, set[int]]:
    """A store that keeps its word: what it acknowledged is there, what it failed is not, the rest may be."""
    parts, stored = [], set()
    for row, (outcome, happened) in enumerate(rows):
        parts.append(write(row, row * 1.0, outcome))
        if outcome is Phase.OK or (outcome in (Phase.UNKNOWN, None) and happened):
            stored.add(row)
        parts.append(read(1000 + row, row + 0.5, set(stored), window=(0, row)))
    parts.append(read(5000, len(rows) + 10.0, set(stored)))
    return history(*parts), stored


@given(ROWS)
def test_a_store_that_keeps_its_word_is_never_accused(rows: list[tuple[Phase | None, bool]]) -> None:
    assert check(simulated(rows)[0]) == GOOD


@given(ROWS, st.data())
def test_a_row_dropped_behind_the_clients_back_is_always_found(
    rows: list[tuple[Phase | None, bool]], data: st.DataObject
) -> None:
    true, stored = simulated([*rows, (Phase.OK, True)])
    victim = data.draw(st.sampled_from(sorted(stored)))
    broken = replace(
        true,
        records=tuple(
            replace(each, rows=each.rows - {victim}) if each.action is Action.FINAL else each
            for each in true.records
        ),
    )
    found = check(broken)
    acknowledged = (*rows, (Phase.OK, True))[victim][0] is Phase.OK
    assert found == replace(GOOD, vanished=(victim,), lost=(victim,) if acknowledged else ())


@given(ROWS)
def test_a_stored_line_reads_back_as_itself(rows: list[tuple[Phase | None, bool]]) -> None:
    for record in simulated(rows)[0].records:
        assert from_fields(to_fields(record)) == record


def test_a_mark_reads_back_as_itself() -> None:
    mark = Mark(1.5, "fault", "east")
    assert from_fields(to_fields(mark)) == mark


def test_a_line_that_is_not_one_is_refused() -> None:
    with pytest.raises((KeyError, ValueError)):
        from_fields({"t": 0.0, "op": 1, "do": "dance", "is": "ok", "edge": "east"})


@given(st.frozensets(st.integers(min_value=0, max_value=200)))
def test_ranges_keep_every_row(rows: frozenset[int]) -> None:
    assert from_ranges(as_ranges(rows)) == rows
