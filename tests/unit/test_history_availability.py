"""Outages, recovery, latency and availability on histories whose numbers are known by construction."""

import itertools
from dataclasses import replace

import pytest
from histories import history, outage, write
from hypothesis import given
from hypothesis import strategies as st

from dcctl.domain.availability import BROKEN_GAP_S, Gap, gaps, measure, percentile, recovery_s
from dcctl.domain.history import Mark, Phase


def test_an_outage_is_measured_from_the_acknowledgements_around_it() -> None:
    found = measure(outage(fault_s=10.0, back_s=18.0, end_s=40.0), sustained_s=5.0)
    gap = found.overall.longest_outage
    assert (gap.begin_s, gap.end_s) == (pytest.approx(9.985), pytest.approx(18.005))
    assert found.overall.recovery_s == pytest.approx(8.005)
    assert found.outages == (gap,)


def test_a_system_that_never_recovers_has_no_recovery_time() -> None:
    found = measure(outage(fault_s=10.0, back_s=99.0, end_s=40.0), sustained_s=5.0)
    assert found.overall.recovery_s is None
    assert found.overall.longest_outage.end_s == pytest.approx(39.98)


def test_without_a_fault_there_is_no_recovery_time() -> None:
    base = outage(fault_s=10.0, back_s=10.0, end_s=20.0)
    assert measure(replace(base, marks=()), sustained_s=5.0).overall.recovery_s is None


def test_a_fault_that_interrupts_nothing_recovers_in_zero_seconds() -> None:
    assert measure(outage(fault_s=10.0, back_s=10.0, end_s=30.0), sustained_s=5.0).overall.recovery_s == 0.0


def test_answers_under_way_when_the_fault_strikes_are_not_a_recovery() -> None:
    acks = [*(each / 10 for each in range(101)), 10.3, 10.9, *(20 + each / 10 for each in range(100))]
    assert recovery_s(acks, fault_s=10.0, sustained_s=5.0) == pytest.approx(10.0)


def test_a_flicker_is_not_a_recovery() -> None:
    flicker = [12.0, 12.2, 12.4]
    acks = [*(each / 10 for each in range(100)), *flicker, *(20 + each / 10 for each in range(100))]
    assert recovery_s(acks, fault_s=10.0, sustained_s=5.0) == pytest.approx(10.0)


def test_a_run_must_have_lasted_before_it_counts() -> None:
    acks = [20 + each / 10 for each in range(30)]
    assert recovery_s(acks, fault_s=10.0, sustained_s=5.0) is None


def test_no_acknowledgement_at_all_is_one_outage_of_the_whole_length() -> None:
    found = measure(history(write(0, 0.0, Phase.FAIL), write(1, 7.0, Phase.FAIL)), sustained_s=5.0)
    assert found.overall.longest_outage == Gap(0.0, 7.0)


def test_an_empty_history_measures_as_nothing() -> None:
    found = measure(history(), sustained_s=5.0)
    assert (found.overall.counts.invoked, found.overall.counts.availability) == (0, 1.0)
    assert found.overall.longest_outage.length_s == 0.0


def test_counts_and_reasons_per_outcome() -> None:
    base = history(
        write(0, 0.0), write(1, 0.1, Phase.FAIL), write(2, 0.2, Phase.UNKNOWN), write(4, 0.3, None)
    )
    found = measure(base, sustained_s=5.0)
    counts = found.overall.counts
    assert (counts.invoked, counts.ok, counts.failed, counts.unknown) == (4, 1, 1, 2)
    assert [(each.edge, each.counts.invoked) for each in found.edges] == [("east", 3), ("west", 1)]
    assert dict(found.reasons) == {
        "fail: the connection was lost": 1,
        "unknown: the connection was lost": 1,
        "unknown: no end was recorded": 1,
    }


def test_latency_counts_from_the_due_time() -> None:
    late = [replace(write(0, 1.0)[0], late_s=0.5), write(0, 1.0)[1]]
    (before,) = measure(history(late), sustained_s=5.0).latency
    assert (before.count, before.max_s) == (1, pytest.approx(0.51))


def test_latency_is_split_at_the_fault_and_at_the_recovery() -> None:
    base = history(
        *(write(row, row * 0.5, took_s=0.01 if row * 0.5 < 10 else 0.03) for row in range(60)),
        marks=(Mark(10.0, "fault", "east"),),
    )
    before, during, after = measure(base, sustained_s=5.0).latency
    assert (before.period, before.count, before.p99_s) == ("before", 20, pytest.approx(0.01))
    assert (during.period, during.count) == ("during", 0)
    assert (after.period, after.count, after.p50_s) == ("after", 40, pytest.approx(0.03))


def test_a_client_that_was_late_says_so() -> None:
    late = [replace(write(0, 1.0)[0], late_s=0.5), write(0, 1.0)[1]]
    assert measure(history(late), sustained_s=5.0).lateness_max_s == 0.5


@given(
    st.lists(
        st.tuples(
            st.floats(0, 100), st.floats(0, 5), st.sampled_from([Phase.OK, Phase.FAIL, Phase.UNKNOWN, None])
        ),
        max_size=60,
    )
)
def test_buckets_hold_every_answer_once(ops: list[tuple[float, float, Phase | None]]) -> None:
    parts = [write(row, at_s, outcome, took_s=took_s) for row, (at_s, took_s, outcome) in enumerate(ops)]
    found = measure(history(*parts), sustained_s=5.0)
    for service in (found.overall, *found.edges):
        assert sum(each.ok for each in service.buckets) == service.counts.ok
        assert sum(each.failed for each in service.buckets) == service.counts.failed
        assert sum(each.unknown for each in service.buckets) == service.counts.unknown


@given(st.lists(st.floats(0, 100)).map(sorted), st.floats(0, 100))
def test_gaps_cover_the_whole_span(acks: list[float], end_s: float) -> None:
    found = gaps(acks, 0.0, end_s)
    assert sum(gap.length_s for gap in found) == pytest.approx(max([end_s, *acks]))


@given(st.lists(st.floats(0, 100), min_size=1).map(sorted), st.floats(0, 100))
def test_a_recovery_is_an_acknowledgement_that_a_run_follows(acks: list[float], fault_s: float) -> None:
    found = recovery_s(acks, fault_s=fault_s, sustained_s=5.0)
    if found is None or found == 0.0:
        return
    run = [each for each in acks if each - fault_s >= found - 1e-9]
    assert run[-1] - run[0] >= 5.0 - 1e-9
    steps = [after - before for before, after in itertools.pairwise(run) if before < run[0] + 5.0]
    assert all(step <= BROKEN_GAP_S + 1e-9 for step in steps[:-1])


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.99, 4.0), (1.0, 4.0), (0.0, 1.0)])
def test_nearest_rank(share: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == value
