"""How long writes stand still when a site or a database is lost, or the primary is moved: on the lab.

``make bench-failover`` with the lab up and deployed, and automation automatic (``dcctl automation mode``).
A client writes 50 rows a second through both edges (the drills' own), and every acknowledged row is read back
at the end of each run. Beside ours runs Patroni alone in the same lab, with its defaults and at its floor.
Each run is one line of ``--out``, kept: an interrupted bench goes on where it ended, and the tables are made
of what is there.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from failover_field import Lab, Settings

from dcctl.domain.availability import acknowledged_s, gaps, unbroken_s
from dcctl.domain.history import Action, check, operations
from dcctl.domain.history import Phase as Outcome

OURS = Settings("ours", None)
DEFAULTS = Settings(
    "Patroni, defaults", {"ttl": 30, "loop_wait": 10, "retry_timeout": 10}, replication_timeout="60s"
)
FLOOR = Settings(
    "Patroni, ttl 20, loop_wait 1", {"ttl": 20, "loop_wait": 1, "retry_timeout": 8}, replication_timeout="60s"
)
FIELD = {"ours": OURS, "defaults": DEFAULTS, "floor": FLOOR}
CASES = ("site-lost", "standby-lost", "primary-killed", "switchover")
WARM_UP_S = 6.0
BACK_LIMIT_S = 180.0
QUIET_S = 1.5
"""The last acknowledgement is at most this old when writes go on."""
STEADY_S = 6.0
"""Writes must be acknowledged for this long, without a pause of a second, for a run to be over."""


@dataclass(frozen=True)
class Result:
    """One run. ``stall_s`` is the longest time without an acknowledged write through any edge."""

    case: str
    who: str
    at: str
    stall_s: float
    began_after_s: float
    failed: int
    unknown: int
    acknowledged: int
    lost: int
    isolated_acknowledged: int | None
    phases: dict[str, float]
    load: float
    note: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-e", "--environment", default="inventories/lab")
    parser.add_argument("--runs", type=int, default=int(os.environ.get("RUNS", "3")))
    parser.add_argument("--case", action="append", choices=CASES, default=None)
    parser.add_argument("--who", action="append", choices=tuple(FIELD), default=None)
    parser.add_argument("--out", type=Path, default=Path("build/bench/failover.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if not args.table:
        with Lab.opened(args.environment) as lab:
            run_all(lab, args.out, args.case or CASES, args.who or tuple(FIELD), args.runs)
    print(tables(read(args.out)))
    return 0


def run_all(lab: Lab, out: Path, cases: Any, field: Any, runs: int) -> None:
    for who in field:
        settings = FIELD[who]
        missing = [
            case
            for case in cases
            for _each in range(runs - sum((r["case"], r["who"]) == (case, settings.name) for r in read(out)))
        ]
        if not missing:
            continue
        with lab.settings(settings):
            for case in missing:
                result = run_one(lab, case, settings)
                with out.open("a") as lines:
                    lines.write(json.dumps(asdict(result)) + "\n")
                print(json.dumps(asdict(result)), file=sys.stderr, flush=True)


def run_one(lab: Lab, case: str, settings: Settings) -> Result:
    """One fault under the client, healed at the end, with every row read back."""
    lab.whole()
    primary, standby = lab.primary_and_standby()
    ours = settings is OURS
    phases: dict[str, float] = {}
    isolated: list[float] = []
    # Whoever wants to see nothing of a planned move uses the pool: it cannot be held without us.
    workload = lab.workload(pool=ours and case == "switchover")
    workload.start()
    try:
        time.sleep(WARM_UP_S)
        with contextlib.ExitStack() as stack:
            if case == "site-lost":
                site = lab.place(primary)
                isolated_writer = stack.enter_context(lab.isolated_writer(site))
                time.sleep(2.0)
                lab.fault_began_s, fault_at = time.monotonic(), datetime.now(UTC)
                fault_s = workload.mark("fault", site)
                stack.enter_context(lab.cut(site))
            elif case == "standby-lost":
                site = lab.place(standby)
                fault_s = workload.mark("fault", site)
                stack.enter_context(lab.cut(site))
            elif case == "primary-killed":
                fault_s = workload.mark("fault", primary)
                lab.kill_database(primary)
            else:
                fault_s = workload.mark("fault", primary)
                lab.switch_over(primary, standby, ours=ours)
            steady(workload.acknowledged_s, fault_s, settings.patience_s(case))
            if case == "site-lost":
                if ours:
                    phases = lab.run_since(fault_at)
                isolated = isolated_writer.acknowledged_after(lab.fault_began_s)
        lab.settle()
    finally:
        history = workload.stop()
        workload.drop()
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
        who=settings.name,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        stall_s=round(longest.length_s, 3),
        began_after_s=round(longest.begin_s - fault_s, 3),
        failed=sum(each.outcome is Outcome.FAIL for each in window),
        unknown=sum(each.outcome is Outcome.UNKNOWN for each in window),
        acknowledged=len(acks),
        lost=len(findings.lost) + len(findings.vanished),
        isolated_acknowledged=len(isolated) if case == "site-lost" else None,
        phases={name: round(value, 2) for name, value in phases.items()},
        load=round(os.getloadavg()[0], 1),
    )


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


def tables(results: list[dict[str, Any]]) -> str:
    lines = [
        "| case | who | runs | stall, median | worst | unacknowledged, median | lost | isolated | load |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        for settings in FIELD.values():
            own = [each for each in results if (each["case"], each["who"]) == (case, settings.name)]
            if not own:
                continue
            load = [each["load"] for each in own]
            stalls = [each["stall_s"] for each in own]
            bad = [each["failed"] + each["unknown"] for each in own]
            isolated = [
                each["isolated_acknowledged"] for each in own if each["isolated_acknowledged"] is not None
            ]
            lines.append(
                f"| {case} | {settings.name} | {len(own)} | {statistics.median(stalls):.1f} s |"
                f" {max(stalls):.1f} s | {statistics.median(bad):.0f} | {sum(each['lost'] for each in own)} |"
                f" {sum(isolated) if isolated else '-'} | {min(load):.0f} to {max(load):.0f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
