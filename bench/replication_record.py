"""Raw figures as JSON lines, and what is read out of them: medians, ratios of pairs, tables.

One line for each figure: which row of the table, what was measured, at which scale, in which round. A run
that was cut short goes on where it stopped: a figure that is on file is not measured again.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measurement. ``scale`` says how large the run was; ``more`` is whatever was seen beside it."""

    row: str
    what: str
    value: float
    unit: str
    round: int
    scale: str
    at: str = ""
    load: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict)


class Records:
    """Figures on file, appended as they are measured."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.figures = list(read(path.read_text())) if path.exists() else []

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        known = self._path.read_text() if self._path.exists() else ""
        with self._path.open("a") as out:
            cut = "" if not known or known.endswith("\n") else "\n"
            out.write(cut + json.dumps(asdict(figure)) + "\n")

    def has(self, row: str, what: str, scale: str, round: int) -> bool:
        return any((f.row, f.what, f.scale, f.round) == (row, what, scale, round) for f in self.figures)

    def values(self, row: str, what: str, scale: str) -> dict[int, float]:
        """By round."""
        return {f.round: f.value for f in self.figures if (f.row, f.what, f.scale) == (row, what, scale)}


def read(text: str) -> Iterable[Figure]:
    """Figures from lines; a last line that was cut by a kill is left out."""
    for line in text.splitlines():
        try:
            yield Figure(**json.loads(line))
        except (ValueError, TypeError):
            continue


def ceiling(figures: Iterable[Figure]) -> float:
    """The rate of the bare loop in the seed copies on file. Raises ValueError where there are none."""
    found = [figure.value for figure in figures if (figure.row, figure.what) == ("seed", "ceiling")]
    if not found:
        raise ValueError("no ceiling on file: measure the row seed first, or give --rate")
    return statistics.median(found)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Ours to theirs, round by round: load that moves during a run moves both of a round."""
    return [ours[number] / theirs[number] for number in sorted(ours) if theirs.get(number)]


@dataclass(frozen=True)
class Line:
    """One line of a table: the median and its extremes, and how ours compares with it in each round."""

    what: str
    unit: str
    runs: int
    median: float
    lowest: float
    highest: float
    ours: float | None


def lines_of(figures: Sequence[Figure], row: str, scale: str, ours: str) -> list[Line]:
    """A line for each thing measured in a row at one scale; ``ours`` is what the others are compared with."""
    by_what: dict[str, dict[int, Figure]] = defaultdict(dict)
    for figure in figures:
        if (figure.row, figure.scale) == (row, scale):
            by_what[figure.what][figure.round] = figure
    mine = {number: figure.value for number, figure in by_what.get(ours, {}).items()}
    found = []
    for what, rounds in by_what.items():
        values = {number: figure.value for number, figure in rounds.items()}
        same_unit = mine and next(iter(rounds.values())).unit == next(iter(by_what[ours].values())).unit
        ratios = paired(mine, values) if what != ours and same_unit else []
        found.append(
            Line(
                what,
                next(iter(rounds.values())).unit,
                len(values),
                statistics.median(values.values()),
                min(values.values()),
                max(values.values()),
                statistics.median(ratios) if ratios else None,
            )
        )
    return found


def table(lines: Sequence[Line]) -> str:
    """As Markdown."""
    out = ["| what | median | lowest to highest | runs | ours to it |", "|---|---|---|---|---|"]
    out += [
        f"| {line.what} | {_short(line.median)} {line.unit} | {_short(line.lowest)} to {_short(line.highest)}"
        f" | {line.runs} | {_short(line.ours) if line.ours is not None else ''} |"
        for line in lines
    ]
    return "\n".join(out)


def report(figures: Sequence[Figure]) -> str:
    """Every row at every scale."""
    keys = dict.fromkeys((figure.row, figure.scale) for figure in figures)
    parts = []
    for row, scale in keys:
        loads = [figure.load for figure in figures if (figure.row, figure.scale) == (row, scale)]
        head = f"## {row}: {scale} (load average {min(loads):.1f} to {max(loads):.1f})"
        parts.append(f"{head}\n\n{table(lines_of(figures, row, scale, 'dcctl'))}\n")
    return "\n".join(parts)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004  # three digits
