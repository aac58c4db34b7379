"""How drills look on a terminal: the plan, the result, the story, the list; and their JSON documents."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.domain.business_report import BusinessReport
    from dcctl.domain.check import Check
    from dcctl.domain.drill import DrillPlan
    from dcctl.domain.report import Report

STYLES = {"held": "bold green", "deviated": "bold red"}


def plan_document(plan: "DrillPlan") -> dict[str, Any]:
    """A plan for ``-o json``."""
    return asdict(plan)


def draw_plan(console: "Console", plan: "DrillPlan") -> None:
    """What would happen, and to what."""
    radius, drill = plan.radius, plan.drill
    console.print(f"drill {drill.name}: {drill.purpose}\n")
    console.print("steady now: " + f"{plan.primary} is primary, {plan.standby} its synchronous standby")
    console.print(f"\nblast radius: {plan.breakage.sentence()}", style="bold")
    cloud = "its cloud's API and " if plan.breakage.kind == "cut" and radius.site in plan.sites else ""
    console.print(f"  dark     {cloud}{', '.join(radius.machines) or 'no machine'}")
    held = [
        f"the primary {radius.primary}" if radius.primary else "",
        f"the synchronous standby {radius.standby}" if radius.standby else "",
    ]
    console.print(f"  loses    {', '.join(each for each in held if each) or 'no database role'}")
    console.print(
        f"  leaves   {radius.voters_left} of {radius.voters} voters, edge {', '.join(radius.edges_left)}"
    )
    console.print("\nsteps", style="bold")
    for number, step in enumerate(plan.steps, start=1):
        console.print(f"  {number}. {step}")
    limits = drill.tolerances
    console.print("\ntolerances", style="bold")
    console.print(f"  recovery time at most {limits.recovery_time_s:g} s, and before the site is healed")
    lost = f"none older than {limits.loss_window_s:g} s" if limits.loss_window_s else "none"
    console.print(f"  acknowledged writes lost: {lost}")


def report_document(report: "Report", page: Path) -> dict[str, Any]:
    """The result of a drill for ``-o json``: what ``report.json`` says, without what only draws."""
    from dcctl.adapters.report import document

    whole = document(report)
    measurement = whole["measurement"]
    for service in (measurement["overall"], *measurement["edges"]):
        del service["buckets"]
    return whole | {"report": str(page)}


def draw_report(console: "Console", report: "Report", page: Path) -> None:
    """The verdict and the numbers, on a few lines."""
    from rich.text import Text

    what = report.started.get("what", report.site)
    verdict = Text(report.verdict.upper(), style=STYLES.get(report.verdict, "bold yellow"))
    moved = f"; the primary was {report.primary_before} and is {report.primary_after}"
    console.print(
        verdict.append(
            f"  drill {report.drill} on {report.environment}: {what}{moved}",
            style="not bold default",
        )
    )
    _draw_table(console, _told(report))
    counts = report.measurement.overall.counts
    console.print(
        f"  writes: {counts.invoked} begun, {counts.ok} acknowledged, {counts.failed} failed, "
        f"{counts.unknown} unknown"
    )
    if report.business is not None:
        _draw_business(console, report.business)
    console.print(f"  report: {page}")


def draw_checks(console: "Console", path: Path, checks: "Sequence[Check]") -> None:
    """What a history proves."""
    console.print(f"{path}")
    _draw_table(console, checks)


def _draw_table(console: "Console", checks: "Sequence[Check]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for check in checks:
        table.add_row(
            Text("  held" if check.held else "  NOT", style="green" if check.held else "bold red"),
            check.name,
            check.measured,
            Text(f"wanted: {check.wanted}", style="dim"),
        )
    console.print(table)


NUMBERS = 3
"""Checks of the writer that are shown in any case: its recovery, its silence, its loss."""


def _told(report: "Report") -> "tuple[Check, ...]":
    """The numbers, what the application's clients were promised, and whatever did not hold."""
    of_business = report.business.checks if report.business is not None else ()
    quiet = {each.name for each in of_business if each.measured in ("none", "yes")}
    shown = (*report.checks[:NUMBERS], *(each for each in of_business if each.name not in quiet))
    return shown + tuple(each for each in report.checks if not each.held and each not in shown)


def _draw_business(console: "Console", business: "BusinessReport") -> None:
    changes, reads = business.changes, business.reads
    console.print(
        f"  application: {changes.invoked} changes begun, {changes.ok} acknowledged, "
        f"{changes.failed} failed, {changes.unknown} unknown; {reads.ok} of {reads.invoked} reads answered"
    )
    for each in business.at_risk:
        later = "arrived after all" if each not in business.unsettled else "NOT at both sites in the end"
        console.print(f"  document at risk: {each.name}, {later}")


def draw_story(console: "Console", report: "Report", page: Path) -> None:
    """The result, every check, and the timeline."""
    from rich.table import Table
    from rich.text import Text

    draw_report(console, report, page)
    console.print()
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for line in report.timeline:
        after = "" if line.after_fault_s is None else f"{round(line.after_fault_s, 1) + 0.0:+.1f} s"
        style = "dim" if line.text.startswith("client") else "bold" if line.text.startswith("FAULT") else ""
        table.add_row(f"{line.at:%H:%M:%S}", Text(after, justify="right"), Text(line.text, style=style))
    console.print(table)


def draw_list(
    console: "Console", drills: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]
) -> None:
    """What can be rehearsed, and what was."""
    from rich.table import Table
    from rich.text import Text

    for each in drills:
        console.print(Text(each["drill"], style="bold").append(f"  {each['purpose']}", style="not bold"))
    if not runs:
        console.print("\nnone was run here")
        return
    console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("run", "drill", "verdict", "recovery", "lost"):
        table.add_column(title)
    for each in runs:
        recovery_s, lost = each.get("recovery_s"), each.get("lost", "")
        table.add_row(
            each["run"],
            each.get("drill", ""),
            Text(each["verdict"], style=STYLES.get(each["verdict"], "yellow")),
            "" if recovery_s is None else f"{recovery_s:.1f} s",
            "not known" if lost is None else str(lost),
        )
    console.print(table)
