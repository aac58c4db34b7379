"""A drill's report on disk: ``report.json`` for programs, ``report.html`` for people, made by jinja2.

The page needs nothing but itself: no script, no font, no address. The picture is inline SVG whose
geometry is worked out here, so that the template only places things.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import jinja2

from dcctl.domain.availability import Bucket, Measurement, Service
from dcctl.domain.report import Report
from dcctl.errors import Unreachable

TEMPLATE = "report.html.j2"
JSON_FORMAT = 1

WIDTH, LEFT, RIGHT = 1000, 54, 16
PANEL, BETWEEN, TOP, LABEL_ROW = 150, 34, 10, 16
TICK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
TICKS_AT_MOST = 12
LABEL_GAP = 104
"""Marks closer than this have their labels on different rows."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One edge's part of the picture; the paths are SVG path data, ``zero`` is the line of no answers."""

    edge: str
    top: float
    zero: float
    bottom: float
    acknowledged: str
    failed: str
    unknown: str
    levels: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """The availability picture, in SVG units."""

    width: int
    height: float
    left: int
    right: float
    top: float
    bottom: float
    panels: tuple[Panel, ...]
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[tuple[float, float, str, str], ...]
    """x, the label's y, text, and where the label's text is anchored."""
    outages: tuple[tuple[float, float], ...]
    """x and width of every silence of all edges together."""
    description: str


def write_report(folder: Path, report: Report, *, templates: Path, version: str) -> Path:
    """Write both files into ``folder`` and return the page's path. Raises Unreachable for a full disk."""
    page = folder / "report.html"
    _replace(folder / "report.json", json.dumps(document(report), indent=1, ensure_ascii=False) + "\n")
    _replace(page, render(report, templates=templates, version=version))
    return page


def document(report: Report) -> dict[str, Any]:
    """The report as JSON values (docs/reference/report.md)."""
    plain: dict[str, Any] = _plain({"format": JSON_FORMAT, **asdict(report)})
    return plain


def render(report: Report, *, templates: Path, version: str) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        seconds=seconds, milliseconds=milliseconds, share=share, count=count, offset=offset
    )
    page = environment.get_template(TEMPLATE).render(
        report=report,
        business=report.business,
        picture=draw(report),
        version=version,
        lost=_sample(report.findings.lost),
    )
    return page + "\n"


def seconds(value: float | None) -> str:
    """``19.3 s``."""
    return "none" if value is None else f"{value:.1f} s"


def offset(value: float | None) -> str:
    """``+19.3 s``; nothing for none."""
    return "" if value is None else f"{round(value, 1) + 0.0:+.1f} s"


def milliseconds(value: float) -> str:
    """``12 ms``."""
    return f"{value * 1000:,.0f} ms"


def share(value: float) -> str:
    """A share as a percentage, never rounded up to 100 when it is not."""
    return f"{math.floor(value * 10000) / 100:.2f} %"


def count(value: int) -> str:
    """With thousands apart."""
    return f"{value:,}"


def _sample(rows: Sequence[int], most: int = 500) -> tuple[Sequence[int], int]:
    """The first rows, and how many more there are: ``report.json`` has all."""
    return rows[:most], max(0, len(rows) - most)


def draw(report: Report) -> Picture:
    """Work out the picture of ``report``."""
    measurement = report.measurement
    buckets = measurement.overall.buckets
    begin_s = measurement.writes_begin_s
    end_s = max(begin_s + len(buckets) * measurement.bucket_s, *(mark.at_s for mark in report.marks), 1e-6)
    right = WIDTH - RIGHT

    def x_of(at_s: float) -> float:
        return LEFT + (right - LEFT) * (at_s - begin_s) / (end_s - begin_s)

    marks = tuple(_marks(report, x_of))
    top = TOP + LABEL_ROW * (1 + max((row for *_rest, row in marks), default=0))
    up, down = _scale(measurement.edges)
    panels = tuple(
        _panel(service, number, top=top, x_of=x_of, bucket_s=measurement.bucket_s, up=up, down=down)
        for number, service in enumerate(measurement.edges)
    )
    bottom = panels[-1].bottom if panels else top
    return Picture(
        width=WIDTH,
        height=bottom + 44,
        left=LEFT,
        right=right,
        top=top,
        bottom=bottom,
        panels=panels,
        ticks=tuple(_ticks(begin_s, end_s, measurement.fault_s or 0.0, x_of)),
        marks=tuple((x, TOP + LABEL_ROW * row + 10, text, anchor) for x, text, anchor, row in marks),
        outages=tuple(
            (x_of(gap.begin_s), x_of(gap.end_s) - x_of(gap.begin_s)) for gap in measurement.outages
        ),
        description=_described(measurement),
    )


def _scale(services: Sequence[Service]) -> tuple[int, int]:
    """The most acknowledged, and the most not acknowledged, in any slice of any edge."""
    slices = [each for service in services for each in service.buckets]
    up = max((each.ok for each in slices), default=1)
    return max(up, 1), max((each.failed + each.unknown for each in slices), default=0)


def _panel(
    service: Service, number: int, *, top: float, x_of: Any, bucket_s: float, up: int, down: int
) -> Panel:
    panel_top = top + number * (PANEL + BETWEEN) + 18
    unit = PANEL / (up + down)
    zero = panel_top + up * unit

    def bar(each: Bucket, y: float, height: float) -> str:
        x, width = x_of(each.begin_s), x_of(each.begin_s + bucket_s) - x_of(each.begin_s)
        return f"M{x:.1f} {y:.1f}h{max(width - 0.6, 0.4):.1f}v{height:.1f}h{-max(width - 0.6, 0.4):.1f}z"

    return Panel(
        edge=service.edge,
        top=panel_top,
        zero=zero,
        bottom=panel_top + PANEL,
        acknowledged="".join(
            bar(each, zero - each.ok * unit, each.ok * unit) for each in service.buckets if each.ok
        ),
        failed="".join(bar(each, zero, each.failed * unit) for each in service.buckets if each.failed),
        unknown="".join(
            bar(each, zero + each.failed * unit, each.unknown * unit)
            for each in service.buckets
            if each.unknown
        ),
        levels=tuple(
            (zero - value * unit, str(abs(value))) for value in ({up, 0, -down} if down else {up, 0})
        ),
    )


def _marks(report: Report, x_of: Any) -> Iterator[tuple[float, str, str, int]]:
    """x, text, anchor and label row of every mark that the picture names, left to right."""
    taken: list[float] = []
    named = [mark for mark in report.marks if mark.text]
    for mark in sorted(named, key=lambda each: each.at_s):
        x = x_of(mark.at_s)
        row = next((row for row, last in enumerate(taken) if x - last >= LABEL_GAP), len(taken))
        taken[row : row + 1] = [x]
        yield x, mark.text, "end" if x > WIDTH - RIGHT - LABEL_GAP else "start", row


def _ticks(begin_s: float, end_s: float, origin_s: float, x_of: Any) -> Iterator[tuple[float, str]]:
    """Ticks at round numbers of seconds from the fault."""
    step_s = next(
        (step for step in TICK_STEPS_S if (end_s - begin_s) / step <= TICKS_AT_MOST), TICK_STEPS_S[-1]
    )
    first = math.ceil((begin_s - origin_s) / step_s)
    for number in range(first, math.floor((end_s - origin_s) / step_s) + 1):
        yield x_of(origin_s + number * step_s), str(number * step_s)


def _described(measurement: Measurement) -> str:
    """The picture in words, for those who cannot see it."""
    edges = "; ".join(
        f"{each.edge}: {each.counts.ok} acknowledged, {each.counts.failed} failed, "
        f"{each.counts.unknown} unknown, longest silence {each.longest_outage.length_s:.1f} s"
        for each in measurement.edges
    )
    return f"Answers to writes per {measurement.bucket_s:g} s and edge. {edges}."


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case Enum():
            return value.value
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case float():
            return round(value, 6)
        case _:
            return value


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: a reader never sees half a report."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise Unreachable("write the report", on=str(path), saw=error.strerror or str(error)) from error
