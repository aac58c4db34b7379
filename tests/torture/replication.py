"""``make torture-replication``: two real Swift clusters under load and faults, judged by an oracle.

The oracle knows every acknowledged operation with the timestamp that Swift gave it, so it knows what one
cluster would have kept of all of them. Counts, for ours and for each peer in the same run: lost writes,
resurrected deletes, wrong metadata, names that did not converge. Then four replicators that are each wrong
in one way play a history that shows it. Exit code 1 unless ours is zero everywhere and each is caught.

    python tests/torture/replication.py                                          everything, one table
    python tests/torture/replication.py --seed 7 --scenario faults --replicator ours --seconds 60
    python tests/torture/replication.py --page docs/reference/replication-torture.md
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from broken_replicators import BROKEN, play
from replication_clients import CLIENT_LIMIT_S, FOR_EVER, KINDS, Client, Crowd
from replication_faults import EXPIRERS, Faults, run_daemon
from replication_oracle import COLUMNS, Score, judge, new_oracle
from replicators import CONTAINER, REPLICATORS

from dcctl.testing.link import link
from dcctl.testing.replication_site import REQUIREMENTS, ROOT, make_container
from dcctl.testing.swift_pair import PIPELINE, Pair, two_clusters

NAMES = 40
CLIENTS = 6
SETTLE_LIMIT_S = 180
BEGIN, END = "<!-- the table: written by tests/torture/replication.py -->", "<!-- end of the table -->"


@dataclass(frozen=True)
class Scenario:
    """``offset_s``: west's clock is so much ahead. ``gap_s``: one partition this long, instead of chance."""

    label: str
    seconds: float
    offset_s: float = 0.0
    reclaim_age_s: int = 604800
    gap_s: float = 0.0


SCENARIOS = {
    "faults": Scenario("all faults", 60),
    "ahead": Scenario("all faults, west's clock 30 s ahead", 40, offset_s=30),
    "behind": Scenario("all faults, west's clock 30 s behind", 40, offset_s=-30),
    "gap": Scenario("a partition longer than reclaim_age", 100, reclaim_age_s=60, gap_s=75),
}


@dataclass
class Row:
    """One line of the table. ``caught_in``: where a wrong replicator has to show, instead of zero."""

    scenario: str
    replicator: str
    score: Score
    seed: int
    about: str = ""
    ours: bool = False
    caught_in: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        if self.caught_in:
            return self.score.counts[self.caught_in] > 0
        return self.score.clean or not self.ours

    @property
    def line(self) -> str:
        counts = [str(count) for count in self.score.counts.values()]
        if self.ours:
            counts = [f"**{count}**" for count in counts]
        return "| " + " | ".join([self.scenario, self.replicator, *counts, self.about]) + " |"


def table(rows: list[Row]) -> str:
    head = "| scenario | replicator | lost writes | resurrected deletes | wrong metadata | not converged | |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(row.line for row in rows)])


def tortured(kind: str, scenario: Scenario, seed: int, seconds: float) -> Row:
    """One replicator, one scenario."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dcctl-torture-")))
        pair = stack.enter_context(
            two_clusters(
                REQUIREMENTS,
                pipeline=PIPELINE.replace("container_sync ", "swift_faults container_sync "),
                extra_filters="[filter:swift_faults]\npaste.filter_factory = swift_faults:filter_factory\n",
                offsets_s=(0.0, scenario.offset_s),
                reclaim_age_s=scenario.reclaim_age_s,
                files=(ROOT / "tests/swift/swift_faults.py",),
            )
        )
        links = {one.name: stack.enter_context(link(one.ports["proxy"])) for one in pair.clusters}
        for cluster in pair.clusters:
            for container in (CONTAINER, "segments"):
                make_container(cluster, container)
        replicator = REPLICATORS[kind](pair, folder, links)
        stack.callback(replicator.kill)
        faults = Faults(pair, links, replicator, seed)
        score, counts = asyncio.run(_whole(pair, replicator, faults, scenario, seed, seconds))
    done = sum(counts[kind] for kind in ("PUT", "POST", "DELETE", "TIE"))
    about = f"seed {seed}, {done} operations, {sum(faults.seen.values())} faults"
    if scenario.gap_s:
        about += f", {faults.forgotten} tombstones forgotten"
    if replicator.asked:
        about += f"; {replicator.asked} names left to a person"
    details = {
        "operations": dict(counts),
        "faults": dict(faults.seen),
        "asked": replicator.asked,
        "forgotten": faults.forgotten,
    }
    return Row(scenario.label, replicator.label, score, seed, about, ours=kind == "ours", details=details)


async def _whole(  # noqa: PLR0917
    pair: Pair, replicator: Any, faults: Faults, scenario: Scenario, seed: int, seconds: float
) -> tuple[Score, dict[str, int]]:
    oracle = new_oracle()
    tokens = {cluster.name: cluster.token() for cluster in pair.clusters}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CLIENT_LIMIT_S)) as session:
        client = Client(session, tokens, oracle, CONTAINER)
        # an expirer that comes by after reclaim_age leaves orphans: not what this is about
        crowd = Crowd(pair, client, NAMES, seed, FOR_EVER if scenario.gap_s else KINDS)
        await asyncio.to_thread(replicator.start)
        until = time.monotonic() + seconds

        async def fail() -> None:
            if not scenario.gap_s:
                await faults.chance(until)
                return
            await asyncio.sleep((seconds - scenario.gap_s) / 2)
            await faults.long_partition(scenario.gap_s)

        await asyncio.gather(crowd.work(until, CLIENTS), fail())
    await asyncio.to_thread(replicator.kill)
    _heal(pair)  # in this thread: servers die with the one that starts them
    limit_s = SETTLE_LIMIT_S + abs(scenario.offset_s)

    def person(name: str) -> bool:
        return oracle[name].lives(time.time())

    await asyncio.to_thread(replicator.settle, limit_s, person)
    await _until_all_expired(oracle, scenario.offset_s)
    for daemon in ("object-updater", *EXPIRERS, "object-updater"):
        for cluster in pair.clusters:
            await asyncio.to_thread(run_daemon, cluster, daemon)
    await asyncio.to_thread(replicator.settle, limit_s, person)
    score = await judge(pair, CONTAINER, oracle, stamps=replicator.keeps_stamps, expired=faults.expired)
    return score, client.counts


def _heal(pair: Pair) -> None:
    for cluster in pair.clusters:
        cluster.start()
        cluster.wait_ready()
    time.sleep(2)
    for cluster in pair.clusters:
        run_daemon(cluster, "object-updater")


async def _until_all_expired(oracle: Any, offset_s: float) -> None:
    """By the clock that is behind."""
    changes = [
        one
        for history in oracle.values()
        for one in (*history.writes, *history.posts, *history.unknown_writes, *history.unknown_posts)
    ]
    last_s = max((one.delete_at for one in changes), default=0) + max(0.0, -offset_s) + 1
    await asyncio.sleep(max(0.0, last_s - time.time()))


def broken(kind: str, seed: int) -> list[Row]:
    """The history that shows what is wrong with ``kind``, with ours and with it."""
    one = BROKEN[kind]
    scenario = f"directed: {one.label}"
    with two_clusters(REQUIREMENTS, offsets_s=(0.0, one.offset_s)) as pair:
        right, wrong = (asyncio.run(play(pair, one, broken=broken)) for broken in (False, True))
    caught = f"broken on purpose; has to show as: {one.column}"
    return [
        Row(scenario, "**dcctl**", right, seed, "", ours=True),
        Row(scenario, kind, wrong, seed, caught, caught_in=one.column),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--seconds", type=float, help="instead of each scenario's own")
    parser.add_argument("--scenario", action="append", choices=[*SCENARIOS])
    parser.add_argument("--replicator", action="append", choices=[*REPLICATORS, *BROKEN])
    parser.add_argument("--page", type=Path, help="write the table into this page")
    given = parser.parse_args()
    rows: list[Row] = []
    kinds = given.replicator or [*REPLICATORS, *BROKEN]
    for seed in given.seed or [1]:
        for name in given.scenario or SCENARIOS:
            scenario = SCENARIOS[name]
            for kind in [one for one in kinds if one in REPLICATORS]:
                _tell(rows, tortured(kind, scenario, seed, given.seconds or scenario.seconds))
    for kind in [one for one in kinds if one in BROKEN]:
        for row in broken(kind, 1):
            _tell(rows, row)
    print(table(rows))
    if given.page is not None:
        _write(given.page, table(rows))
    wrong = [row for row in rows if not row.ok]
    for row in wrong:
        print(f"NOT RIGHT: {row.line}")
    return 1 if wrong else 0


def _tell(rows: list[Row], row: Row) -> None:
    rows.append(row)
    told = {"scenario": row.scenario, "replicator": row.replicator, "seed": row.seed, **row.score.counts}
    print(json.dumps({**told, **row.details}), file=sys.stderr, flush=True)
    if row.ours and not row.score.clean:
        for column in COLUMNS:
            print(column, getattr(row.score, column), file=sys.stderr)
        print(json.dumps(row.score.notes, indent=1), file=sys.stderr, flush=True)


def _write(page: Path, result: str) -> None:
    text = page.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n\n{result}\n\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
