"""How long writes stand still when a site or a database is lost, or the primary is moved: on the lab.

``make bench-failover`` with the lab up and deployed; automation is made automatic, or paused, meanwhile.
A client writes 50 rows a second through both edges (the drills' own), and every acknowledged row is read back
at the end of each run. Beside ours runs Patroni alone in the same lab, with its defaults and at its floor;
``traffic-off`` has clients that read tenders instead, and HAProxy beside our edges (failover_traffic.py).
Each run is one line of ``--out``, kept: an interrupted bench goes on where it ended, and the tables are made
of what is there; a run that broke off is a line too, and is done again by the next bench.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from failover_field import Lab, Settings
from failover_publish import CASES, TRAFFIC_OFF, published, section, tables
from failover_traffic import OURS as OUR_EDGE
from failover_traffic import Asked, beside_our_edge

from dcctl.domain.availability import acknowledged_s, gaps, unbroken_s
from dcctl.domain.history import Action, History, check, operations
from dcctl.domain.history import Phase as Outcome

PAGE = Path("docs/benchmarks.md")
OURS = Settings("ours", None)
DEFAULTS = Settings(
    "Patroni, defaults", {"ttl": 30, "loop_wait": 10, "retry_timeout": 10}, replication_timeout="60s"
)
FLOOR = Settings(
    "Patroni, ttl 20, loop_wait 1", {"ttl": 20, "loop_wait": 1, "retry_timeout": 8}, replication_timeout="60s"
)
FIELD = {"ours": OURS, "defaults": DEFAULTS, "floor": FLOOR}
SITE_LOST = ("site-power-loss", "site-lost", "standby-lost", TRAFFIC_OFF)
WARM_UP_S = 6.0
BACK_LIMIT_S = 180.0
QUIET_S = 1.5
"""The last acknowledgement is at most this old when writes go on."""
STEADY_S = 6.0
"""Writes must be acknowledged for this long, without a pause of a second, for a run to be over."""
READ_WELL_S = 10.0
READ_AT_LEAST_S = 40.0
READ_WARM_LIMIT_S = 120.0
INTERRUPTED = 130


@dataclass(frozen=True)
class Result:
    """One run. ``stall_s`` is the longest time without an acknowledged write through any edge; None: the run
    broke off, and ``note`` says why.

    Of ``traffic-off`` it is the time from the fault until the last bad answer, ``unknown`` are late ones.
    """

    case: str
    who: str
    at: str
    stall_s: float | None
    began_after_s: float = 0.0
    failed: int = 0
    unknown: int = 0
    acknowledged: int = 0
    lost: int = 0
    isolated_acknowledged: int | None = None
    phases: dict[str, float] = field(default_factory=dict)
    load: float = 0.0
    note: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-e", "--environment", default="inventories/lab")
    parser.add_argument("--runs", type=int, default=int(os.environ.get("RUNS", "3")))
    parser.add_argument("--case", action="append", choices=tuple(CASES), default=None)
    parser.add_argument("--who", action="append", choices=tuple(FIELD), default=None)
    parser.add_argument("--out", type=Path, default=Path("build/bench/failover.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument("--publish", action="store_true", help=f"only write them to {PAGE}")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if not (args.table or args.publish):
        ending = Ending()
        try:
            with ending, Lab.opened(args.environment) as lab:
                run_all(
                    lab,
                    args.out,
                    args.case or tuple(CASES),
                    args.who or tuple(FIELD),
                    args.runs,
                    ending=ending,
                )
        except KeyboardInterrupt:
            told = f"ended; the runs so far are in {args.out}"
            print(f"{told}: the same command goes on with the rest", file=sys.stderr)
            return INTERRUPTED
    if args.publish:
        PAGE.write_text(published(PAGE.read_text(), section(read(args.out))))
    print(tables(read(args.out)))
    return 0


class Ending:
    """While entered, Ctrl-C and SIGTERM end the bench, once: a second one must not end the undoing."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Ending":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: object) -> None:
        first, self.asked = not self.asked, True
        word = b"ending" if first else b"already ending"
        os.write(2, b"\n" + word + b": what is under way is undone first\n")
        if first:
            raise KeyboardInterrupt


def run_all(
    lab: Lab, out: Path, cases: Sequence[str], field: Sequence[str], runs: int, *, ending: Ending
) -> None:
    for who in field:
        settings = FIELD[who]
        # In turn: what a healed site is given to calm down passes under the next case.
        missing = [
            case
            for run in range(runs)
            for case in cases
            if (case != TRAFFIC_OFF or settings is OURS) and done(out, case, settings.name) <= run
        ]
        if not missing:
            continue
        with lab.settings(settings):
            for case in missing:
                for result in run_or_why(lab, case, settings):
                    with out.open("a") as lines:
                        lines.write(json.dumps(asdict(result)) + "\n")
                    print(json.dumps(asdict(result)), file=sys.stderr, flush=True)
                if ending.asked:  # and the undoing failed, which is told in the line of that run
                    raise KeyboardInterrupt


def done(out: Path, case: str, who: str) -> int:
    return sum(
        (each["case"], each["who"]) == (case, who) and each["stall_s"] is not None for each in read(out)
    )


def run_or_why(lab: Lab, case: str, settings: Settings) -> Sequence[Result]:
    """A run that breaks off has healed what it broke, and ends no other."""
    try:
        return traffic_off(lab) if case == TRAFFIC_OFF else (run_one(lab, case, settings),)
    except (Exception, SystemExit) as error:
        note = " ".join(str(error).split()) or type(error).__name__
        return (Result(case, settings.name, now(), None, note=note, load=load()),)


def traffic_off(lab: Lab) -> list[Result]:
    """The site without the primary is cut under clients that read at the other one."""
    if not lab.applications():
        raise SystemExit("the environment has no application")
    lab.settle()
    primary, standby = lab.primary_and_standby()
    site = lab.place(standby)
    lab.ready(site)
    phases: dict[str, float] = {}
    with beside_our_edge(lab, lab.place(primary)) as readers, readers.reading():
        wait_until(lambda: readers.well_for_s() >= WARM_UP_S, READ_WARM_LIMIT_S, "tenders could not be read")
        fault_at, fault_s = datetime.now(UTC), time.monotonic()
        with lab.cut(site):
            time.sleep(READ_AT_LEAST_S)
            wait_until(lambda: readers.well_for_s() >= READ_WELL_S, BACK_LIMIT_S, "reading stayed bad")
            held_s = time.monotonic()
            phases = lab.run_since(fault_at, site)
    lab.settle()
    return [
        reading(
            who, [each for each in asked if each.due_s < held_s], fault_s, phases if who == OUR_EDGE else {}
        )
        for who, asked in readers.asked.items()
    ]


def reading(who: str, asked: Sequence[Asked], fault_s: float, phases: dict[str, float]) -> Result:
    """What the clients of one edge saw of the fault."""
    bad = [each for each in asked if each.ended_s >= fault_s and not each.good]
    return Result(
        case=TRAFFIC_OFF,
        who=who,
        at=now(),
        stall_s=round(max((each.ended_s - fault_s for each in bad), default=0.0), 3),
        began_after_s=round(min((each.due_s - fault_s for each in bad), default=0.0), 3),
        failed=sum(not each.answered for each in bad),
        unknown=sum(each.answered for each in bad),
        acknowledged=sum(each.good for each in asked),
        phases=rounded(phases),
        load=load(),
    )


def wait_until(holds: Callable[[], bool], limit_s: float, why_not: str) -> None:
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > limit_s:
            raise SystemExit(f"{why_not} within {limit_s:g} s")
        time.sleep(0.5)


def run_one(lab: Lab, case: str, settings: Settings) -> Result:
    """One fault under the client, healed at the end, with every row read back."""
    lab.settle()
    primary, standby = lab.primary_and_standby()
    site = lab.place(standby if case == "standby-lost" else primary)
    ours = settings is OURS
    if ours and case in SITE_LOST:
        lab.ready(site)
    phases: dict[str, float] = {}
    isolated: list[float] = []
    # Whoever wants to see nothing of a planned move uses the pool: it cannot be held without us.
    workload = lab.workload(pool=ours and case == "switchover")
    workload.start()
    try:
        time.sleep(WARM_UP_S)
        with contextlib.ExitStack() as stack:
            if case == "site-lost":
                isolated_writer = stack.enter_context(lab.isolated_writer(site))
                time.sleep(2.0)
                lab.fault_began_s, fault_at = time.monotonic(), datetime.now(UTC)
                fault_s = workload.mark("fault", site)
                stack.enter_context(lab.cut(site))
            elif case == "site-power-loss":
                fault_at = datetime.now(UTC)
                fault_s = workload.mark("fault", site)
                stack.enter_context(lab.power_loss(site))
            elif case == "standby-lost":
                fault_s = workload.mark("fault", site)
                stack.enter_context(lab.cut(site))
            elif case == "primary-killed":
                fault_s = workload.mark("fault", primary)
                lab.kill_database(primary)
            else:
                fault_s = workload.mark("fault", primary)
                lab.switch_over(primary, standby, ours=ours)
            steady(workload.acknowledged_s, fault_s, settings.patience_s(case))
            if ours and case in ("site-power-loss", "site-lost"):
                phases = lab.run_since(fault_at, site)
            if case == "site-lost":
                isolated = isolated_writer.acknowledged_after(lab.fault_began_s)
        lab.settle()
    finally:
        history = workload.stop()
        workload.drop()
    inside = isolated if case == "site-lost" else None
    return judged(case, settings.name, history, fault_s, isolated=inside, phases=phases)


def judged(
    case: str,
    who: str,
    history: History,
    fault_s: float,
    *,
    isolated: Sequence[float] | None,
    phases: dict[str, float],
) -> Result:
    """What the writers saw of the fault."""
    done = operations(history)
    writes = [each for each in done if each.action is Action.WRITE]
    acks = acknowledged_s(writes)
    begin_s = min(each.due_s for each in writes)
    longest = max(
        (gap for gap in gaps(acks, begin_s, max(acks)) if gap.end_s >= fault_s), key=lambda gap: gap.length_s
    )
    findings = check(history)
    if not findings.final_read:
        raise SystemExit("the rows could not be read back")
    window = [each for each in writes if each.due_s >= fault_s - 1]
    return Result(
        case=case,
        who=who,
        at=now(),
        stall_s=round(longest.length_s, 3),
        began_after_s=round(longest.begin_s - fault_s, 3),
        failed=sum(each.outcome is Outcome.FAIL for each in window),
        unknown=sum(each.outcome is Outcome.UNKNOWN for each in window),
        acknowledged=len(acks),
        lost=len(findings.lost) + len(findings.vanished),
        isolated_acknowledged=len(isolated) if isolated is not None else None,
        phases=rounded(phases),
        load=load(),
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def load() -> float:
    return round(os.getloadavg()[0], 1)


def rounded(phases: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in phases.items()}


def steady(acknowledged: Callable[[], Any], fault_s: float, patience_s: float) -> None:
    """Wait until the fault has had its effect and writes go on."""
    began = time.monotonic()
    while time.monotonic() - began < BACK_LIMIT_S:
        time.sleep(0.5)
        acks = sorted(each for lane in acknowledged().values() for each in lane)
        if time.monotonic() - began < patience_s or not acks:
            continue
        now_s = fault_s + time.monotonic() - began
        if unbroken_s(acks) >= STEADY_S and now_s - acks[-1] < QUIET_S:
            return
    raise SystemExit(f"writes did not come back within {BACK_LIMIT_S:g} s")


def read(out: Path) -> list[dict[str, Any]]:
    if not out.exists():
        return []
    found = []
    for line in out.read_text().splitlines():
        with contextlib.suppress(ValueError):  # a torn last line
            found.append(json.loads(line))
    return found


if __name__ == "__main__":
    sys.exit(main())
