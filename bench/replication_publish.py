"""Figures on file as the section of docs/benchmarks.md: what is asked for, what was measured, every table."""

import statistics
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from replication_record import Figure, lines_of, paired, table

BEGIN = "<!-- bench-replication: what follows is written by `python bench/replication.py --publish` -->"
END = "<!-- bench-replication: end -->"
WIDTH = 110
EXPLAINED = {
    "seed": """
        Everything that east has, to an empty west; objects of 1 to 64 KB. The ceiling is a bare
        loop of GET and signed PUT in one process, with the number in flight that was fastest here.
        The others are programs, timed from outside, their start included; Swift's container-sync
        until its last object had arrived. In each round one after the other, west emptied before
        each; *ours to it* is the median of the rounds' ratios.""",
    "processor": """
        Processor time of clients and of all servers of both clusters together: where everything
        shares two cores this is what bounds the rates above, and a busy neighbour cannot falsify
        it.""",
    "requests": """
        Requests for objects that both proxies saw while so many objects were copied. Container-sync
        reads at its own side past the proxy, which is not counted.""",
    "listing": """
        A pass over rows of which none has changed, beside page after page of both listings, read at
        once and thrown away. Rows were injected into the container databases.""",
    "memory": """
        Resident memory of that pass at its highest, by the kernel's own mark.""",
    "churn": """
        One row in a thousand changed at one side before the pass: six of ten overwritten, four new,
        all over the container.""",
    "lag": """
        Writes at half the ceiling, half of them at each site, told in an outbox in a real
        PostgreSQL and carried by `dcctl replication follow`: from the acknowledgement at one site
        until the object is on the other cluster's disk, by the file system's own word.""",
    "workers": """
        `follow --shared` once and twice, on eight containers. Every proxy answers 0.4 s late
        without work, and a worker has four requests under way: a worker waits and does not compute,
        so neither the servers nor the processor are the limit.""",
    "manners": """
        A client of east's cluster, three reads to one write, never waiting for its own answers,
        while somebody copies from that cluster.""",
}


@dataclass(frozen=True)
class Verdict:
    """One thing that is asked for. ``met`` is None where it was not measured."""

    what: str
    wanted: str
    measured: str
    met: bool | None


class Figures:
    """What the verdicts look at: the largest scale of each row."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self.all = figures

    def scales(self, row: str) -> list[str]:
        found = {figure.scale for figure in self.all if figure.row == row}
        return sorted(found, key=lambda scale: int(float(scale.split()[0])))

    def values(self, row: str, what: str, scale: str | None = None) -> Mapping[int, float]:
        scale = scale or next(reversed(self.scales(row)), "")
        return {f.round: f.value for f in self.all if (f.row, f.what, f.scale) == (row, what, scale)}

    def whats(self, row: str) -> list[str]:
        scale = next(reversed(self.scales(row)), "")
        return list(dict.fromkeys(f.what for f in self.all if (f.row, f.scale) == (row, scale)))


def verdicts(figures: Sequence[Figure]) -> list[Verdict]:
    """Everything that is asked for, in the order of the tables."""
    known = Figures(figures)
    ours = known.values("seed", "dcctl")
    peers = [what for what in known.whats("seed") if what not in ("dcctl", "ceiling")]
    found = [
        _at_least("seed copy, ours to the ceiling", 0.85, paired(ours, known.values("seed", "ceiling"))),
        _at_least(
            "seed copy, ours to rclone's default",
            1.8,
            paired(ours, known.values("seed", "rclone sync, default")),
        ),
    ]
    found += [
        _at_least(f"seed copy, ours to {peer}", 1.0, paired(ours, known.values("seed", peer)))
        for peer in peers
        if peer != "rclone sync, default"
    ]
    raw, mine = known.values("listing", "raw listing of both"), known.values("listing", "dcctl")
    found.append(_at_least("unchanged pass, our listing rate to the raw one", 0.9, paired(raw, mine)))
    peaks = {scale: max(known.values("memory", "dcctl", scale).values()) for scale in known.scales("memory")}
    by_scale = ", ".join(f"{peak:.0f} MB ({scale})" for scale, peak in peaks.items())
    found.append(
        Verdict("unchanged pass, memory", "at most 120 MB, flat", by_scale, _all_below(peaks.values(), 120))
    )
    churn = paired(known.values("churn", "dcctl"), known.values("churn", "an unchanged pass and the copies"))
    found.append(_at_most("0.1 % churn, to an unchanged pass and the copies", 1.2, churn))
    for rank, limit_s in (("p50", 0.5), ("p99", 2.0)):
        found.append(_at_most(f"lag, {rank}, s", limit_s, list(known.values("lag", rank).values())))
    requests = list(known.values("requests", "dcctl").values())
    found.append(_at_most("requests per copied object", 2, requests))
    two, one = known.values("workers", "2 workers"), known.values("workers", "1 worker")
    found.append(_at_least("two workers to one", 1.6, paired(two, one)))
    return found


def section(figures: Sequence[Figure], host: Sequence[str]) -> str:
    """The whole section, as Markdown. ``host`` are sentences about where and with what it was measured."""
    known = Figures(figures)
    out = [BEGIN, "", *host, "", "| asked for | target | measured | |", "|---|---|---|---|"]
    out += [
        f"| {one.what} | {one.wanted} | {one.measured or 'not measured'} | {_word(one.met)} |"
        for one in verdicts(figures)
    ]
    for row, explained in EXPLAINED.items():
        for number, scale in enumerate(known.scales(row)):
            lines = lines_of(figures, row, scale, "dcctl")
            loads = [figure.load for figure in figures if (figure.row, figure.scale) == (row, scale)]
            out += ["", f"#### {row}, {_thousands(scale)}", ""]
            if number == 0:
                out += [textwrap.fill(" ".join(explained.split()), WIDTH), ""]
            out += [f"Load average of the host meanwhile {min(loads):.1f} to {max(loads):.1f}.", ""]
            out.append(table(lines))
    return "\n".join([*out, "", END])


def published(page: str, section: str) -> str:
    """The page with this section, its first and last line included, instead of the one that it had.

    Raises ValueError where it had none.
    """
    first, *_, last = section.splitlines()
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the page lacks the lines {first} and {last}")
    return before + section + after


def _at_least(what: str, limit: float, values: Sequence[float]) -> Verdict:
    return _judged(what, f"at least {limit:g}", values, lambda value: value >= limit)


def _at_most(what: str, limit: float, values: Sequence[float]) -> Verdict:
    return _judged(what, f"at most {limit:g}", values, lambda value: value <= limit)


def _judged(what: str, wanted: str, values: Sequence[float], good: Callable[[float], bool]) -> Verdict:
    if not values:
        return Verdict(what, wanted, "", None)
    middle = statistics.median(values)
    spread = f" ({min(values):.2f} to {max(values):.2f}, {len(values)} rounds)" if len(values) > 1 else ""
    return Verdict(what, wanted, f"{middle:.2f}{spread}", good(middle))


def _all_below(values: Collection[float], limit: float) -> bool | None:
    return all(value <= limit for value in values) if values else None


def _word(met: bool | None) -> str:  # noqa: FBT001  # as Verdict has it
    return {True: "met", False: "**not met**", None: ""}[met]


def _thousands(scale: str) -> str:
    number, _, unit = scale.partition(" ")
    return f"{int(number):,} {unit}" if number.isdigit() else scale
