"""``dcctl status``: everything on one screen, gravest first; what is silent is shown as silent."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import Hanging, emit, span
from dcctl.cli.session import Session, command_options
from dcctl.errors import DcctlError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from dcctl.config.schema import Configuration
    from dcctl.domain.last_run import LastRun
    from dcctl.domain.observation import AtRisk, Seen
    from dcctl.domain.run import ActiveRun
    from dcctl.domain.status import DatabaseStatus, MachineStatus, SiteStatus, Status
    from dcctl.domain.verdict import SiteVerdict

PART_LIMIT_S = 1.0
"""One part's time to answer."""
LOOK_LIMIT_S = 4.0
"""The whole look's. Only a cloud that lets us connect and then takes its time comes near it: a dark one
costs no more than any other part."""

GOOD, BAD, DOUBT, QUIET = "green", "bold red", "yellow", "dim"
VERDICTS = {"UP": GOOD, "DOWN": BAD, "ISOLATED": BAD}
"""Any other verdict is a doubt."""


@click.command()
@click.option(
    "--watch",
    is_flag=False,
    flag_value=2.0,
    type=click.FloatRange(min=0.5, max=3600),
    metavar="[SECONDS]",
    help="Look again every SECONDS (2), until Ctrl-C.",
)
@command_options
def status(session: Session, *, watch: float | None) -> None:
    """Show sites and what is to be thought of each, machines, ZooKeeper, the database, edges, the last run.

    A part that does not answer is shown so; that is no error, and the exit code is 0.
    """
    configuration = session.configuration()
    if watch is None:
        document, screen = look(configuration, dcctl=session.dcctl)
        emit(session, document, lambda console: console.print(screen))
    else:
        watch_again(session, watch, lambda: look(configuration, dcctl=session.dcctl))


def look(
    configuration: "Configuration", *, dcctl: str = "dcctl"
) -> "tuple[Mapping[str, Any], RenderableType]":
    """One look, as JSON values and as a screen."""
    from dcctl import wiring
    from dcctl.cli.fault import find_fault
    from dcctl.domain.evidence import decide_site_verdicts
    from dcctl.domain.observation import Seen
    from dcctl.domain.status import decide_status
    from dcctl.engines.status import observe
    from dcctl.shell import at_once
    from dcctl.wiring.traffic import vantages_seen

    began = time.monotonic()
    system = wiring.system(configuration, limit_s=PART_LIMIT_S, fault=find_fault(configuration))
    asked: dict[str, Callable[[], Any]] = {
        "view": lambda: observe(system, lambda questions: at_once(questions, limit_s=LOOK_LIMIT_S)),
        "automation": lambda: automation(configuration),
        "vantages": lambda: vantages_seen(configuration, limit_s=PART_LIMIT_S),
        "runs": lambda: last_run(configuration, dcctl=dcctl),
    }
    answers: dict[str, Any] = at_once(asked)
    view, told, seen, runs = (answers[each] for each in asked)
    for each in (view, runs):
        if isinstance(each, DcctlError):
            raise each
    if isinstance(told, DcctlError):
        told = f"not known: {told.saw or told.sentence()}"
    last, active = runs
    vantages = Seen(None, seen.saw or seen.sentence()) if isinstance(seen, DcctlError) else Seen(seen)
    view = replace(view, vantages=vantages, active_run=active)
    decided = decide_status(configuration.environment, system.hosts, view)
    verdicts = decide_site_verdicts(decided, vantages, witness=configuration.witness is not None)
    now = datetime.now(UTC)
    document = {
        "at": now,
        "took_s": round(time.monotonic() - began, 3),
        **asdict(decided),
        "verdicts": [
            {**asdict(each), "next_command": plan_of(site, each, dcctl)}
            for site, each in zip(decided.sites, verdicts, strict=True)
        ],
        "automation": told,
        "last_run": asdict(last) if last is not None else None,
    }
    return document, draw(decided, now, last, told, verdicts, dcctl=dcctl)


def automation(configuration: "Configuration") -> str:
    """Who may start a failover now, in a line."""
    from dcctl.wiring.automation import configured_mode, said

    return said(configuration, limit_s=PART_LIMIT_S).sentence(configured_mode(configuration))


def last_run(
    configuration: "Configuration", *, dcctl: str = "dcctl"
) -> "tuple[LastRun | None, ActiveRun | None]":
    """The run that has the right to act, or else the newest of any machine, and the former by itself. Where
    the ensemble does not answer, it is the newest of this machine."""
    import json

    from dcctl.domain.last_run import LastRun, choose_last, decide_last_run
    from dcctl.wiring.runs import known

    with known(configuration, limit_s=PART_LIMIT_S) as found:
        if (chosen := choose_last(found.names(), found.active)) is None:
            return None, None
        try:
            run, _events = found.read(chosen)
        except DcctlError as error:
            return LastRun(chosen, "unreadable", saw=error.sentence()), found.active
    verdict = ""
    with suppress(OSError, ValueError, KeyError, TypeError):  # no drill, or a report that broke off
        report = configuration.state_directory / "runs" / run.run / "report.json"
        verdict = str(json.loads(report.read_text())["verdict"])
    return decide_last_run(run, datetime.now(UTC), dcctl=dcctl, verdict=verdict), found.active


def watch_again(
    session: Session, every_s: float, again: "Callable[[], tuple[Mapping[str, Any], RenderableType]]"
) -> None:
    """Show what ``again`` sees every ``every_s``, on one screen, or one document after the other."""
    import sys

    from rich.live import Live

    from dcctl.cli.output import console

    out = console(sys.stdout)
    if session.json or not out.is_terminal:
        while True:
            document, screen = again()
            emit(session, document, lambda console, screen=screen: console.print(screen))  # type: ignore[misc]
            time.sleep(every_s)
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            live.update(again()[1], refresh=True)
            time.sleep(every_s)


def draw(
    status: "Status",
    now: datetime,
    last: "LastRun | None",
    automation: str = "",
    verdicts: "Sequence[SiteVerdict]" = (),
    *,
    dcctl: str = "dcctl",
) -> "RenderableType":
    """The screen."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts = Table.grid(padding=(0, 2))
    parts.add_column(style="bold")
    parts.add_row("database", _database(status.database))
    parts.add_row("zookeeper", _voters(status))
    parts.add_row("edges", _edges(status))
    judged = {each.site: each for each in verdicts}
    told = status.quorum < status.quorum_needed
    parts.add_row(
        "sites", _lines(_site(site, judged.get(site.name), dcctl, why=not told) for site in status.sites)
    )
    if status.documents is not None:
        parts.add_row("documents", _documents(status.documents))
    if automation:
        parts.add_row("automation", Text(automation, style=DOUBT if "paused" in automation else ""))
    parts.add_row("last run", _last_run(last, now))
    problems = [Hanging(Text("  !", style=BAD), each) for each in status.problems]
    return Group(_headline(status, now), *problems, Text(), parts, Text(), _machines(status))


def _headline(status: "Status", now: datetime) -> "Text":
    from rich.text import Text

    text = Text()
    text.append(f"{status.environment}", style="bold")
    text.append(f"  {now:%Y-%m-%d %H:%M:%S} UTC  ")
    if not status.problems:
        return text.append("all well", style=GOOD)
    number = len(status.problems)
    text.append("1 thing needs attention" if number == 1 else f"{number} things need attention", style=BAD)
    return text


def _lines(lines: "Iterable[Text]") -> "Text":
    from rich.text import Text

    return Text("\n").join(lines)


def _database(database: "DatabaseStatus") -> "Text":
    from rich.text import Text

    text = Text()
    if database.primary is None:
        return text.append("no primary is known", style=BAD)
    answers = any(member.role == "primary" for member in database.members)
    text.append(f"{database.primary}", style=GOOD if answers else BAD)
    text.append(f" is primary at {database.primary_place}" if answers else " was primary and does not answer")
    if database.timeline is not None:
        text.append(f", timeline {database.timeline}")
    if database.single_copy:
        text.append("  SINGLE-COPY: no synchronous standby", style=BAD)
    for name in database.synchronous:
        text.append("\n").append(name, style=GOOD).append(" is its synchronous standby")
        if database.lag_bytes is not None:
            text.append(f", {database.lag_bytes} bytes behind")
    for name in (each for each in database.named if each not in database.synchronous):
        text.append("\n").append(f"{name} is named synchronous and does not confirm", style=DOUBT)
    others = [each for each in database.members if each.name not in (database.primary, *database.named)]
    for member in others:
        text.append(f"\n{member.name} {member.role}, {member.state}", style=DOUBT)
    return text


def _voters(status: "Status") -> "Text":
    from rich.text import Text

    whole, enough = status.quorum == len(status.voters), status.quorum >= status.quorum_needed
    text = Text(
        f"quorum {status.quorum}/{len(status.voters)}", style=GOOD if whole else DOUBT if enough else BAD
    )
    for voter in status.voters:
        bad = voter.mode not in ("leader", "follower")
        text.append("  ").append(f"{voter.name} {voter.mode}", style=BAD if bad else "")
    return text


def _edges(status: "Status") -> "Text":
    from rich.text import Text

    lines = []
    for edge in status.edges:
        text = Text(edge.name)
        if not edge.up:
            text.append(f" does not answer: {edge.reason}", style=BAD)
        elif not edge.routes_to:
            text.append(" sends writes nowhere", style=BAD)
        else:
            right = edge.routes_to == (status.database.primary,)
            text.append(" sends writes to ").append(", ".join(edge.routes_to), style=GOOD if right else BAD)
        lines.append(text)
    return _lines(lines)


def _documents(told: "Seen[AtRisk]") -> "Text":
    from rich.text import Text

    if told.value is None:
        return Text(f"not known to be at both sites: {told.reason}", style=DOUBT)
    if not told.value.count:
        return Text("every acknowledged one is at both sites", style=GOOD)
    text = Text(told.value.sentence(), style=DOUBT)
    text.append(f"; the oldest waits for {told.value.oldest_s:.0f} s")
    for site in sorted(told.value.by_site):
        text.append(f"\nlost with {site} now: {told.value.lost_with(site)}")
    return text


def _site(site: "SiteStatus", verdict: "SiteVerdict | None", dcctl: str, *, why: bool) -> "Text":
    """``why``: whether to say why its rotation is not known; that there is no quorum is told already."""
    from rich.text import Text

    text = Text(site.name)
    if verdict is not None:
        text.append(" is ").append(str(verdict.verdict), style=VERDICTS.get(str(verdict.verdict), DOUBT))
        text.append(":")
    if site.answers:
        text.append(" its cloud answers", style=GOOD).append(f", {site.servers} servers")
    else:
        text.append(" its cloud is dark", style=BAD).append(f": {site.reason}")
    style = {"active": GOOD, "unknown": QUIET}.get(site.rotation, DOUBT)
    words = {"active": "in rotation", "unknown": "its rotation is not known"}
    text.append(", ").append(words.get(site.rotation, site.rotation), style=style)
    if site.rotation_reason and site.rotation == "unknown" and why:
        text.append(f": {site.rotation_reason}")
    elif site.rotation_reason and site.rotation not in words:
        text.append(f" {site.rotation_reason}")
    if site.cut:
        text.append(f", cut off on purpose for {site.cut.heals_in_s:.0f} s more", style=DOUBT)
    for reason in verdict.reasons if verdict is not None else ():
        text.append(f"\n  {reason}", style=DOUBT)
    if verdict is not None and (command := plan_of(site, verdict, dcctl)):
        text.append(f"\n  next: {command}", style="bold")
    return text


def plan_of(site: "SiteStatus", verdict: "SiteVerdict", dcctl: str) -> str:
    """What shows how a site that is lost would be given up; empty for any other, and once it is."""
    given_up = site.rotation == "quarantined"
    return f"{dcctl} failover plan --lost {site.name}" if verdict.lost and not given_up else ""


def _last_run(last: "LastRun | None", now: datetime) -> "Text":
    from rich.text import Text

    if last is None:
        return Text("none", style=QUIET)
    told = last.verdict or last.outcome
    style = {"done": GOOD, "held": GOOD, "active": DOUBT, "interrupted": DOUBT, "not known": DOUBT}
    lines = [Text(f"{last.run}  ").append(told, style=style.get(told, BAD)).append(_when(last, now))]
    if told in ("done", "held"):
        return lines[0]
    by = f", by {last.by}" if last.by else ""
    lines.append(Text(f"  {last.command}{by}" if last.command else "  its command is not known"))
    for each in last.doing:
        if each.for_s is None:
            lines.append(Text(f"  it had begun (done or not): {each.name}, on {each.target}", style=DOUBT))
        else:
            most = f" of at most {span(each.limit_s)}" if each.limit_s is not None else ""
            lines.append(Text(f"  now for {span(each.for_s)}{most}: {each.name}, on {each.target}"))
    if last.saw:
        lines.append(Text(f"  {last.saw}"))
    if last.next_command:
        lines.append(Text(f"  next: {last.next_command}", style="bold"))
    return _lines(lines)


def _when(last: "LastRun", now: datetime) -> str:
    """For how long it goes on, or how long ago it ended."""
    if last.started_at is None or last.took_s is None:
        return ""
    if last.outcome == "paused":
        return f", begun {span(last.took_s)} ago"
    if last.goes_on:
        if last.resumed_at is not None:
            return f" for {span(last.took_s)}, since it was resumed at {last.resumed_at:%H:%M:%S} UTC"
        return f" for {span(last.took_s)}, since {last.started_at:%H:%M:%S} UTC"
    if last.ended_at is None:
        return f", begun {span((now - last.started_at).total_seconds())} ago"
    word = "in" if last.outcome == "done" else "after"
    return f" {word} {span(last.took_s)}, {span((now - last.ended_at).total_seconds())} ago"


def _machines(status: "Status") -> "RenderableType":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=QUIET)
    for title in ("machine", "place", "address", "cloud", "ssh"):
        table.add_column(title)
    for machine in status.machines:
        table.add_row(machine.name, machine.place, machine.address, _cloud_word(machine), _ssh_word(machine))
    return table


def _cloud_word(machine: "MachineStatus") -> "Text":
    from rich.text import Text

    style = {"on": GOOD, "off": BAD, "suspended": BAD}.get(str(machine.power), QUIET)
    return Text(machine.cloud, style=style)


def _ssh_word(machine: "MachineStatus") -> "Text":
    from rich.text import Text

    if machine.reachable:
        return Text("answers", style=GOOD)
    return Text(machine.reason or "no answer", style=BAD)
