"""``make bench-replication``: ours and its peers on two real clusters, side by side.

    python bench/replication.py                                   the full figures, hours
    python bench/replication.py --only seed --objects 400 --repeat 1      one row, small
    python bench/replication.py --report                          tables of what is on file

Raw figures are kept as lines of JSON; what is on file is not measured again, so a run may be cut and gone on
with. Within a round ours and what it is compared with run one after the other, and ratios are of rounds.
Programs are timed from outside, Python's start included.
"""

import argparse
import sys
from pathlib import Path

from replication_field import field
from replication_lag import measure_lag, measure_manners
from replication_listing import measure_listing
from replication_record import Records, ceiling, report
from replication_seed import measure_requests, measure_seed
from replication_workers import LATENCY_S, measure_workers

ROWS = ("seed", "requests", "listing", "lag", "workers", "manners")
RESULTS = Path(__file__).parents[1] / "build/bench-replication.jsonl"


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
    parser.add_argument("--report", action="store_true", help="measure nothing")
    given = parser.parse_args()
    records = Records(given.results)
    peers = given.repeat if given.peers is None else given.peers
    wanted = () if given.report else given.only.split(",")
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
    sys.stdout.write(report(records.figures))


if __name__ == "__main__":
    main()
