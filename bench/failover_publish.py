"""Runs on file as tables: everything for whoever measures, and the section of docs/benchmarks.md."""

import os
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from replication_publish import WIDTH, published

__all__ = ["CASES", "TRAFFIC_OFF", "published", "section", "tables"]

BEGIN = "<!-- bench-failover: what follows is written by `python bench/failover.py --publish` -->"
END = "<!-- bench-failover: end -->"
OURS = "ours"
TRAFFIC_OFF = "traffic-off"
TWO_PROBES_S = 2.0
"""Agents probe each site once a second (dcctl.engines.agent.PULSE_EVERY_S); two that are missed suffice."""
RELEASED = "release the leader key of the primary"
STEPS = {
    "run began": "detect: two places have missed the site twice, the run begins",
    "nothing stands against the failover": "decide: the run has looked itself",
    RELEASED: "fence: the leader key is released",
    "the standby becomes leader": "promote: the standby has the key",
}
"""Of the run, in its own words and in those of the table."""


@dataclass(frozen=True)
class Case:
    """What is done, and what is asked for: seconds at most, of the median and of the worst run."""

    words: str
    median_s: float | None
    worst_s: float | None = None
    all_acknowledged: bool = False


CASES: Mapping[str, Case] = {
    "site-power-loss": Case("the primary's site loses power", 6.0, 10.0),
    "primary-killed": Case("the primary's processes are killed", 4.0),
    "standby-lost": Case("the synchronous standby's site is cut", 4.0),
    "switchover": Case("planned switchover", 1.0, all_acknowledged=True),
    "site-lost": Case("the primary's site is isolated, not dead", None, 8.0),
    TRAFFIC_OFF: Case("a site without the primary is cut: until the last bad answer", None, 2.0),
}
EXPLAINED = """
    Longest time without an acknowledged write through any edge: median, and the worst run. 50 writes a second
    through both edges, every row read back afterwards. Ours is automatic, no person and no cloud's power-off
    in it. Patroni alone is the same lab with automation paused, PostgreSQL's time-outs at their defaults, and
    Patroni's at its own or at the floor that it allows (retry_timeout 8); what else the roles set up, it has
    as well: the edges' checks, ZooKeeper's tick, and the quicker look at a primary that is being stopped. The
    switchover of ours is made through the pools, which hold their clients; Patroni's own (what `patronictl`
    asks for) knows none. Power: the machines of the site are switched off and its cloud's API is dark with
    them; later they are powered on through that cloud.
"""
TRAFFIC_EXPLAINED = """
    Clients that read tenders, ten times a second, through the edge that is left; bad is no 200 within 5 s, or
    one after 2 s. Our edges send clients to their own site's servers, so nothing has to be moved; HAProxy
    stands beside that edge on the same machine and saw the same faults, with `check` at its defaults and the
    time-outs of Debian's haproxy.cfg. The lost site's own edge is dark: clients that know both edges take
    them in turn, and ask the other one after a second without an answer.
"""
FLOOR_EXPLAINED = """
    From the fault, medians. The floor is two missed probes (2 s) and, of the same runs, what passed from the
    key's release until a write was acknowledged.
"""


def runs_of(results: Sequence[Mapping[str, Any]], case: str, who: str) -> list[Mapping[str, Any]]:
    """Those that did not break off."""
    found = [each for each in results if (each["case"], each["who"]) == (case, who)]
    return [each for each in found if each["stall_s"] is not None]


def who_of(results: Sequence[Mapping[str, Any]], case: str) -> list[str]:
    """Ours first, the others as they came."""
    found = dict.fromkeys(each["who"] for each in results if each["case"] == case)
    return sorted(found, key=lambda who: who != OURS)


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """Everything there is, plainly."""
    lines = [
        "| case | who | runs | broke off | stall, median | worst | not acknowledged, median | lost | isolated"
        " | load |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        for who in who_of(results, case):
            own = runs_of(results, case, who)
            broken = sum((each["case"], each["who"]) == (case, who) for each in results) - len(own)
            if not own:
                lines.append(f"| {case} | {who} | 0 | {broken} | | | | | | |")
                continue
            stalls = [each["stall_s"] for each in own]
            bad = [each["failed"] + each["unknown"] for each in own]
            isolated = [each["isolated_acknowledged"] for each in own]
            inside = (
                sum(each or 0 for each in isolated) if any(each is not None for each in isolated) else "-"
            )
            lines.append(
                f"| {case} | {who} | {len(own)} | {broken} | {statistics.median(stalls):.2f} s |"
                f" {max(stalls):.2f} s | {statistics.median(bad):.0f} | {sum(each['lost'] for each in own)} |"
                f" {inside} | {_loads(own)} |"
            )
    return "\n".join(lines)


def section(results: Sequence[Mapping[str, Any]]) -> str:
    """The published section, as Markdown."""
    whole = [each for each in results if each["stall_s"] is not None]
    days = [each["at"][:10] for each in whole]
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    where = (
        f"`make bench-failover`, {' to '.join(dict.fromkeys((min(days), max(days))))}, the whole lab on one"
        f" host with {os.cpu_count()} cores and {memory_gb:.0f} GB, load average {_loads(whole)}."
        f" Acknowledged rows that were lost in {len(whole)} runs: {sum(each['lost'] for each in whole)}."
        if whole
        else "`make bench-failover` has measured nothing yet."
    )
    parts = [
        BEGIN,
        _filled(where),
        _filled(EXPLAINED),
        _compared(results, [case for case in CASES if case != TRAFFIC_OFF]),
        _broken(results),
        _filled(TRAFFIC_EXPLAINED),
        _compared(results, [TRAFFIC_OFF]),
        "Where the time goes:",
        _filled(FLOOR_EXPLAINED),
        _phases(results),
        END,
    ]
    return "\n\n".join(part for part in parts if part)


def _compared(results: Sequence[Mapping[str, Any]], cases: Sequence[str]) -> str:
    peers = list(dict.fromkeys(who for case in cases for who in who_of(results, case) if who != OURS))
    lines = [
        f"| what happens | target | dcctl | |{''.join(f' {who} |' for who in peers)}",
        f"|---|---|---|---|{'---|' * len(peers)}",
    ]
    for case in cases:
        ours = runs_of(results, case, OURS)
        against = "".join(f" {_cell(case, runs_of(results, case, who))} |" for who in peers)
        verdict = _word(met(case, ours))
        lines.append(f"| {CASES[case].words} | {target(case)} | {_cell(case, ours)} | {verdict} |{against}")
    return "\n".join(lines)


def target(case: str) -> str:
    """What is asked for, in words."""
    asked, words = CASES[case], []
    if asked.all_acknowledged:
        words.append("0 requests failed")
    if asked.median_s is not None:
        words.append(f"{asked.median_s:g} s median")
    if asked.worst_s is not None:
        words.append(f"{asked.worst_s:g} s worst")
    if case == "site-lost":
        words.append("nothing acknowledged inside")
    return ", ".join(words)


def met(case: str, runs: Sequence[Mapping[str, Any]]) -> bool | None:
    """None where nothing was measured."""
    if not runs:
        return None
    asked, stalls = CASES[case], [each["stall_s"] for each in runs]
    return (
        (asked.median_s is None or statistics.median(stalls) <= asked.median_s)
        and (asked.worst_s is None or max(stalls) <= asked.worst_s)
        and not any(each["lost"] or each["isolated_acknowledged"] for each in runs)
        and not (asked.all_acknowledged and any(each["failed"] + each["unknown"] for each in runs))
    )


def _cell(case: str, runs: Sequence[Mapping[str, Any]]) -> str:
    if not runs:
        return "not measured"
    stalls = [each["stall_s"] for each in runs]
    words = [f"{statistics.median(stalls):.1f} s, worst {max(stalls):.1f} s ({len(runs)})"]
    if case == TRAFFIC_OFF:
        late = sum(each["unknown"] for each in runs)
        words.append(f"{sum(each['failed'] for each in runs)} errors, {late} late")
    if CASES[case].all_acknowledged:
        failed = sum(each["failed"] + each["unknown"] for each in runs)
        words.append(f"{failed} of {failed + sum(each['acknowledged'] for each in runs)} failed")
    if case == "site-lost":
        words.append(f"{sum(each['isolated_acknowledged'] or 0 for each in runs)} inside")
    if lost := sum(each["lost"] for each in runs):
        words.append(f"**{lost} lost**")
    return "; ".join(words)


def _broken(results: Sequence[Mapping[str, Any]]) -> str:
    broken = [each for each in results if each["stall_s"] is None]
    return "\n".join(f"- broke off: {each['case']}, {each['who']}: {each['note'][:300]}" for each in broken)


def _phases(results: Sequence[Mapping[str, Any]]) -> str:
    """When each step of ours had ended, and the floor."""
    columns = {}
    for case in ("site-power-loss", "site-lost"):
        if runs := [each for each in runs_of(results, case, OURS) if RELEASED in each["phases"]]:
            columns[f"{CASES[case].words} ({len(runs)})"] = _ended(runs)
    if not columns:
        return "Not measured."
    lines = [f"| until |{''.join(f' {words} |' for words in columns)}", f"|---|{'---|' * len(columns)}"]
    for row in dict.fromkeys(row for ended in columns.values() for row in ended):
        seen = [ended.get(row) for ended in columns.values()]
        cells = "".join(f" {statistics.median(each):.1f} s |" if each else " |" for each in seen)
        lines.append(f"| {row} |{cells}")
    return "\n".join(lines)


def _ended(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    found = {
        words: [each["phases"][step] for each in runs if step in each["phases"]]
        for step, words in STEPS.items()
    }
    found["route: a client's write is acknowledged"] = [_served_s(each) for each in runs]
    found["the run has proven all of it"] = [max(each["phases"].values()) for each in runs]
    found["**the floor**"] = [TWO_PROBES_S + _served_s(each) - each["phases"][RELEASED] for each in runs]
    return found


def _served_s(run: Mapping[str, Any]) -> float:
    """From the fault until the longest silence ended."""
    return float(run["began_after_s"] + run["stall_s"])


def _loads(runs: Sequence[Mapping[str, Any]]) -> str:
    loads = [each["load"] for each in runs]
    return f"{min(loads):.0f} to {max(loads):.0f}"


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_on_hyphens=False)


def _word(met: bool | None) -> str:  # noqa: FBT001  # None where nothing was measured
    return {True: "met", False: "**not met**", None: ""}[met]
