"""How well the client was served: outages, recovery time, latency and availability, from a history alone.

Pure functions over ``domain.history`` values. Times are seconds since the history began; an
acknowledgement counts at the instant the client received it, a latency runs from the instant its
operation was *due*, so that a stalled client cannot flatter the system (coordinated omission).
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dcctl.domain.history import Action, History, Operation, Phase, operations

BROKEN_GAP_S = 1.0
"""A silence between acknowledgements longer than this ends a run of them. It bounds how finely a
recovery can be told from the client's ordinary rhythm, and is fixed so that reports compare."""


BUSINESS_GAP_S = 5.0
"""The same for the application's clients, who through one edge begin something every second or two."""


@dataclass(frozen=True, slots=True)
class Gap:
    """No acknowledged write between these two instants."""

    begin_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Counts:
    """Writes by what the client was told."""

    invoked: int
    ok: int
    failed: int
    unknown: int

    @property
    def availability(self) -> float:
        """The share of invoked writes that were acknowledged; 1.0 when none was invoked."""
        return self.ok / self.invoked if self.invoked else 1.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Of acknowledged writes due in one period, in seconds; ``count`` 0 makes the rest 0."""

    period: str
    count: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """The answers that arrived in one slice of time."""

    begin_s: float
    ok: int
    failed: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Service:
    """One edge, or all of them together (``edge`` empty)."""

    edge: str
    counts: Counts
    longest_outage: Gap
    recovery_s: float | None
    """From the fault to the first write of a sustained run; None: never, or there was no fault."""
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything a report says about how the client was served."""

    fault_s: float | None
    writes_begin_s: float
    writes_end_s: float
    bucket_s: float
    overall: Service
    edges: tuple[Service, ...]
    outages: tuple[Gap, ...]
    latency: tuple[Latency, ...]
    reasons: tuple[tuple[str, int], ...]
    """Why writes were not acknowledged, most frequent first."""
    reads: Counts
    lateness_p99_s: float
    lateness_max_s: float
    """How late the client itself was; large values make every other number doubtful."""


def measure(history: History, *, sustained_s: float, bucket_s: float = 0.5) -> Measurement:
    """Measure ``history``; ``sustained_s`` is how long writes must go on to count as recovered."""
    done = operations(history)
    writes = tuple(each for each in done if each.action is Action.WRITE)
    reads = tuple(each for each in done if each.action is Action.READ)
    fault = history.mark("fault")
    fault_s = fault.at_s if fault else None
    begin_s, end_s = span(writes)
    services = tuple(
        _service(
            edge,
            tuple(each for each in writes if edge in ("", each.edge)),
            fault_s=fault_s,
            begin_s=begin_s,
            end_s=end_s,
            answered_s=max((each.ended_s or each.invoked_s for each in writes), default=end_s),
            sustained_s=sustained_s,
            bucket_s=bucket_s,
        )
        for edge in ("", *history.edges)
    )
    late = sorted(each.invoked_s - each.due_s for each in writes)
    return Measurement(
        fault_s=fault_s,
        writes_begin_s=begin_s,
        writes_end_s=end_s,
        bucket_s=bucket_s,
        overall=services[0],
        edges=services[1:],
        outages=tuple(
            gap for gap in gaps(acknowledged_s(writes), begin_s, end_s) if gap.length_s > BROKEN_GAP_S
        ),
        latency=latencies(writes, fault_s=fault_s, recovery_s=services[0].recovery_s),
        reasons=reasons(writes),
        reads=count(reads),
        lateness_p99_s=percentile(late, 0.99),
        lateness_max_s=percentile(late, 1.0),
    )


def _service(
    edge: str,
    writes: Sequence[Operation],
    *,
    fault_s: float | None,
    begin_s: float,
    end_s: float,
    answered_s: float,
    sustained_s: float,
    bucket_s: float,
) -> Service:
    acks = acknowledged_s(writes)
    return Service(
        edge=edge,
        counts=count(writes),
        longest_outage=max(gaps(acks, begin_s, end_s), key=lambda gap: gap.length_s),
        recovery_s=None if fault_s is None else recovery_s(acks, fault_s=fault_s, sustained_s=sustained_s),
        buckets=buckets(writes, begin_s=begin_s, end_s=answered_s, width_s=bucket_s),
    )


def span(writes: Sequence[Operation]) -> tuple[float, float]:
    """When the first and the last write were due: what is judged. Answers may still arrive later."""
    if not writes:
        return 0.0, 0.0
    return min(each.due_s for each in writes), max(each.due_s for each in writes)


def acknowledged_s(writes: Iterable[Operation]) -> tuple[float, ...]:
    """The instants at which writes were acknowledged, in order."""
    return tuple(
        sorted(each.ended_s for each in writes if each.outcome is Phase.OK and each.ended_s is not None)
    )


def gaps(acks: Sequence[float], begin_s: float, end_s: float) -> tuple[Gap, ...]:
    """The silences between acknowledgements, the ones at both ends included."""
    instants = (begin_s, *acks, max(end_s, acks[-1]) if acks else end_s)
    return tuple(Gap(before, after) for before, after in itertools.pairwise(instants))


def recovery_s(
    acks: Sequence[float], *, fault_s: float, sustained_s: float, broken_gap_s: float = BROKEN_GAP_S
) -> float | None:
    """From the fault to the first acknowledgement of a run that lasts ``sustained_s``; None: no such run.

    A run is broken by a silence longer than ``broken_gap_s``. Acknowledgements that were under way when
    the fault struck end the run that began before it; only when that run goes on for ``sustained_s``
    after the fault was nothing interrupted, and the answer is 0.
    """
    begin_s: float | None = None
    last_s = -math.inf
    for ack_s in acks:
        if begin_s is None or ack_s - last_s > broken_gap_s:
            begin_s = ack_s
        last_s = ack_s
        if ack_s - max(begin_s, fault_s) >= sustained_s:
            return max(begin_s - fault_s, 0.0)
    return None


def unbroken_s(acks: Sequence[float]) -> float:
    """How long the last run of acknowledgements has lasted."""
    begin_s = acks[-1] if acks else 0.0
    for before, after in itertools.pairwise(reversed(acks)):
        if before - after > BROKEN_GAP_S:
            break
        begin_s = after
    return acks[-1] - begin_s if acks else 0.0


def latencies(
    writes: Iterable[Operation], *, fault_s: float | None, recovery_s: float | None
) -> tuple[Latency, ...]:
    """Latency of acknowledged writes due before the fault, until recovery, and after it."""
    starts = {"before": -math.inf}
    if fault_s is not None:
        starts["during"] = fault_s
        starts["after"] = math.inf if recovery_s is None else fault_s + recovery_s
    samples: dict[str, list[float]] = {period: [] for period in starts}
    for each in writes:
        if each.outcome is Phase.OK and each.ended_s is not None:
            period = [name for name, start_s in starts.items() if each.due_s >= start_s][-1]
            samples[period].append(each.ended_s - each.due_s)
    return tuple(_latency(period, sorted(values)) for period, values in samples.items())


def _latency(period: str, ordered: Sequence[float]) -> Latency:
    p50_s, p95_s, p99_s, max_s = (percentile(ordered, share) for share in (0.5, 0.95, 0.99, 1.0))
    return Latency(period, len(ordered), p50_s, p95_s, p99_s, max_s)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of sorted values; 0.0 of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def count(done: Iterable[Operation]) -> Counts:
    """Operations by outcome."""
    outcomes = Counter(each.outcome for each in done)
    return Counts(
        invoked=outcomes.total(),
        ok=outcomes[Phase.OK],
        failed=outcomes[Phase.FAIL],
        unknown=outcomes[Phase.UNKNOWN],
    )


def reasons(writes: Iterable[Operation]) -> tuple[tuple[str, int], ...]:
    """Why writes were not acknowledged, with how many of each, most frequent first."""
    bad = Counter(
        f"{each.outcome}: {each.saw or 'no reason given'}" for each in writes if each.outcome is not Phase.OK
    )
    return tuple(sorted(bad.items(), key=lambda pair: (-pair[1], pair[0])))


def buckets(
    writes: Iterable[Operation], *, begin_s: float, end_s: float, width_s: float
) -> tuple[Bucket, ...]:
    """The answers per slice of ``width_s``, by the instant the client got them; every slice is there."""
    number = max(1, math.ceil((end_s - begin_s) / width_s + 1e-9))
    tally = [Counter[Phase]() for _ in range(number)]
    for each in writes:
        at_s = each.ended_s if each.ended_s is not None else each.invoked_s
        tally[min(number - 1, max(0, int((at_s - begin_s) / width_s)))][each.outcome] += 1
    return tuple(
        Bucket(begin_s + index * width_s, each[Phase.OK], each[Phase.FAIL], each[Phase.UNKNOWN])
        for index, each in enumerate(tally)
    )
