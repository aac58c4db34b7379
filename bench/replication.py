"""``make bench-replication``: ours and its peers on two real clusters, side by side.

    python bench/replication.py                                   the full figures, hours
    python bench/replication.py --only seed --objects 400 --repeat 1      one row, small
    python bench/replication.py --report                          tables of what is on file

Raw figures are kept as lines of JSON; what is on file is not measured again, so a run may be cut and gone on
with. Within a round ours and what it is compared with run one after the other, and ratios are of rounds.
Programs are timed from outside, Python's start included.
"""

import argparse
import importlib.metadata
import os
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from replication_field import REQUIREMENTS, field, run_program
from replication_lag import measure_lag, measure_manners
from replication_listing import measure_listing
from replication_publish import published, section
from replication_record import Figure, Records, ceiling, report
from replication_seed import measure_requests, measure_seed
from replication_workers import LATENCY_S, measure_workers

ROWS = ("seed", "requests", "listing", "lag", "workers", "manners")
PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"
RESULTS = Path(__file__).parents[1] / "build/bench-replication.jsonl"


def host(figures: Sequence[Figure]) -> list[str]:
    """Where and with what these figures were measured."""
    days = sorted({figure.at[:10] for figure in figures})
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    swift = next(
        line for line in REQUIREMENTS.read_text().splitlines() if line.startswith("swift==")
    ).split()[0]
    rclone = run_program(["rclone", "version"]).output.splitlines()[0]
    client = importlib.metadata.version("python-swiftclient")
    python = platform.python_version()
    return [
        f"`make bench-replication`, {' and '.join(days)}, on one host with {os.cpu_count()} cores and"
        f" {memory_gb:.0f} GB",
        "that clients and both clusters share. Medians; raw figures in `build/bench-replication.jsonl`.",
        f"{swift.replace('==', ' ').capitalize()} with one replica, {rclone}, python-swiftclient {client},"
        f" Python {python}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default=",".join(ROWS), help=f"rows, with commas between: {', '.join(ROWS)}"
    )
    parser.add_argument("--objects", type=int, default=10_000, help="in a seed copy")
    parser.add_argument(
        "--rows", default="10000,100000,1000000", help="in listings; sizes with commas between"
    )
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    parser.add_argument("--peers", type=int, help="rounds in which the peers take part, if fewer")
    parser.add_argument("--copiers", default="", help="of the seed copy, with | between, if not all")
    parser.add_argument("--rate", type=float, help="writes a second for the lag; half the ceiling on file")
    parser.add_argument("--seconds", type=float, default=60, help="of writing, for lag and manners")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and measure nothing")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; the figures so far are on file"))
    records = Records(given.results)
    peers = given.repeat if given.peers is None else given.peers
    wanted = () if given.report or given.publish else given.only.split(",")
    if unknown := set(wanted) - set(ROWS):
        parser.error(f"no such rows: {', '.join(sorted(unknown))}")
    if "seed" in wanted:
        with field(records) as two:
            measure_seed(
                two, given.objects, given.repeat, peers, frozenset(filter(None, given.copiers.split("|")))
            )
    if "requests" in wanted:
        with field(records, counting=True) as two:
            measure_requests(two, min(given.objects, 300))
    if "listing" in wanted:
        with field(records) as two:
            measure_listing(two, [int(rows) for rows in given.rows.split(",")], given.repeat)
    if "lag" in wanted:
        rate = given.rate or ceiling(records.figures) / 2
        with field(records) as two:
            measure_lag(two, rate, given.seconds, given.repeat)
    if "workers" in wanted:
        with field(records, latency_s=LATENCY_S) as two:
            measure_workers(two, 400, min(given.repeat, 3))
    if "manners" in wanted:
        rate = (given.rate or ceiling(records.figures) / 2) / 4
        with field(records) as two:
            measure_manners(two, given.objects, rate, given.seconds, min(given.repeat, 3))
    if given.publish:
        PAGE.write_text(published(PAGE.read_text(), section(records.figures, host(records.figures))))
    sys.stdout.write(report(records.figures))


if __name__ == "__main__":
    main()
