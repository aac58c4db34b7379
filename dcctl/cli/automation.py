"""``dcctl automation show|pause|resume|mode``: whether a failover may start without a person."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.session import Session, command_options
from dcctl.errors import Refused, Unreachable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from dcctl.config.schema import Configuration
    from dcctl.domain.automation import Automation, Certificate, LastAction, Mode
    from dcctl.ports import Automations

LOOK_LIMIT_S = 5.0
CAPACITY_LIMIT_S = 60.0
CONFIGURED = "configured"

reason_option = click.option("--reason", required=True, metavar="TEXT", help="Why; shown to everybody.")


@click.group()
def automation() -> None:
    """Whether a failover may start without a person: show, pause, resume, mode."""


@automation.command()
@command_options
def show(session: Session) -> None:
    """Show the mode in force, who paused it why, who may act, and what the last automatic failover was."""
    from dcctl.wiring.automation import automations

    configuration = session.configuration()
    with automations(configuration) as said:
        document = _document(configuration, said)
    emit(session, document, lambda console: _draw(console, document))


@automation.command()
@reason_option
@command_options
def pause(session: Session, *, reason: str) -> None:
    """Stop every automatic action within a second, one that is under way too, until it is resumed."""
    _change(session, reason=reason, paused=True)


@automation.command()
@click.option("--reason", default="", metavar="TEXT", help="Why; shown to everybody.")
@command_options
def resume(session: Session, *, reason: str) -> None:
    """Let automatic actions go on, as far as the mode says.

    In automatic mode it is found out anew whether each site could carry everything alone.
    """
    _change(session, reason=reason, paused=False)


@automation.command()
@click.argument("which", type=click.Choice(["automatic", "manual", CONFIGURED]))
@reason_option
@command_options
def mode(session: Session, *, which: str, reason: str) -> None:
    """Who starts a failover from now on, whatever dcctl.yaml says; `configured` leaves it to that again.

    For automatic it is found out first whether each site could carry everything alone, which the
    controller cannot find out when a cloud is dark.
    """
    from dcctl.domain.automation import Mode

    if which == CONFIGURED:
        _change(session, reason=reason, as_configured=True)
    else:
        _change(session, reason=reason, mode=Mode(which))


def _change(
    session: Session,
    *,
    reason: str,
    paused: bool | None = None,
    mode: "Mode | None" = None,
    as_configured: bool = False,
) -> None:
    from dcctl.config.rules import why_not_automatic
    from dcctl.domain.automation import Mode
    from dcctl.engines.controller import change_automation
    from dcctl.wiring.automation import automations, configured_mode
    from dcctl.wiring.runs import who

    configuration = session.configuration()
    with automations(configuration) as said:
        configured = configured_mode(configuration)
        wanted = configured if as_configured else mode or said.observe().mode_in_force(configured)
        if wanted is Mode.AUTOMATIC and paused is not True:
            if reasons := why_not_automatic(configuration):
                raise Refused("make automation automatic", reasons=reasons)
            _certify(configuration, said)
        change_automation(
            said,
            by=who(),
            at=datetime.now(UTC),
            reason=reason,
            paused=paused,
            mode=mode,
            as_configured=as_configured,
        )
        document = _document(configuration, said)
    emit(session, document, lambda console: _draw(console, document))


def _certify(configuration: "Configuration", said: "Automations") -> None:
    """Find out what losing each site would mean, and keep it for the controller."""
    from dcctl.cli.move import ask_within
    from dcctl.engines.controller import certify
    from dcctl.wiring.capacity import capacity
    from dcctl.wiring.runs import who

    for site in configuration.sites:
        found = capacity(configuration, site, ask=ask_within(CAPACITY_LIMIT_S))
        said.record_certificate(certify(found, who(), datetime.now(UTC)))


def _document(configuration: "Configuration", said: "Automations") -> dict[str, Any]:
    from dcctl.domain.automation import CONTROLLER
    from dcctl.wiring.automation import configured_mode

    now, last, configured = said.observe(), said.observe_last(), configured_mode(configuration)
    certificates = {site: said.observe_certificate(site) for site in configuration.sites}
    controller = _controller(configuration, CONTROLLER)
    against = partial(
        _against,
        now,
        last,
        configured,
        at=datetime.now(UTC),
        led=controller is not None,
        hold_off=configuration.rules.as_rules().hold_off,
    )
    return {
        "mode": now.mode_in_force(configured),
        "configured": configured,
        "paused": now.paused,
        "reason": now.reason,
        "by": now.by,
        "at": now.at,
        "controller": controller,
        "last": {**asdict(last), "told": last.sentence()} if last else None,
        "capacity": {
            site: {"fits": each.fits, "reasons": each.reasons, "by": each.by, "at": each.at}
            if each is not None
            else None
            for site, each in certificates.items()
        },
        "against": {
            site: against(site, next(other for other in certificates if other != site), certificate=each)
            for site, each in certificates.items()
        },
    }


def _against(
    said: "Automation",
    last: "LastAction | None",
    configured: "Mode",
    site: str,
    survivor: str,
    *,
    at: datetime,
    certificate: "Certificate | None",
    led: bool,
    hold_off: "timedelta | None",
) -> tuple[str, ...]:
    """Why ``site`` would not be given up by itself, were it lost; where a person said so, that is all."""
    from dcctl.domain.automation import why_aborted, why_not_automatic, why_not_by_itself
    from dcctl.domain.observation import Seen
    from dcctl.engines.controller import certified

    if reasons := why_not_automatic(configured, said):
        return reasons
    try:
        carries = Seen(certified(certificate, site, survivor, at))
    except Unreachable as error:
        carries = Seen(None, f"{error.sentence()}: {error.next_command}")
    why_not = why_not_by_itself(configured, said, last, now=at, hold_off=hold_off, carries=carries, led=led)
    return (*why_not, *why_aborted(last, site))


def _controller(configuration: "Configuration", role: str) -> str | None:
    """Who may act now."""
    from contextlib import closing

    from dcctl import wiring

    with closing(wiring.leases(configuration, session_s=LOOK_LIMIT_S)) as leases:
        leases.connect(limit_s=LOOK_LIMIT_S)
        state = leases.observe_role(role, limit_s=LOOK_LIMIT_S)
    return state.term.holder if state.term is not None else None


def _draw(console: "Console", document: Mapping[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    paused = " and PAUSED" if document["paused"] else ""
    table.add_row("automation", Text(f"{document['mode']}{paused}", style="yellow" if paused else ""))
    if document["by"]:
        why = f": {document['reason']}" if document["reason"] else ""
        table.add_row("said by", f"{document['by']} at {document['at']:%Y-%m-%d %H:%M:%S} UTC{why}")
    table.add_row("in dcctl.yaml", str(document["configured"]))
    table.add_row("controller", document["controller"] or Text("nobody", style="yellow"))
    if (last := document["last"]) is not None:
        run = f" (run {last['run']})" if last["run"] else ""
        row = f"the failover of {last['site']} at {last['at']:%Y-%m-%d %H:%M:%S} UTC{run} {_became(last)}"
        table.add_row("last", Text(row, style="" if last["done"] else "yellow"))
    for site, each in document["capacity"].items():
        table.add_row(f"without {site}", _carries(each))
    for site, against in document["against"].items():
        table.add_row(f"{site} lost", _given_up(site, against))
    console.print(table)


def _became(last: Mapping[str, Any]) -> str:
    told = str(last["told"])
    return told if told.startswith(("did", "may")) else f"was {told}"


def _given_up(site: str, against: "Sequence[str]") -> "Text":
    from rich.text import Text

    if not against:
        return Text("would be given up by itself, once the evidence suffices", style="green")
    text = Text("would not be given up by itself", style="yellow")
    for reason in against:
        text.append(f"\n- {reason}", style="")
    return text.append(f"\nby a person: dcctl failover plan --lost {site}", style="")


def _carries(certificate: Mapping[str, Any] | None) -> str:
    if certificate is None:
        return "nobody has found out yet whether the other site carries everything"
    told = "the other site carries everything" if certificate["fits"] else "; ".join(certificate["reasons"])
    return f"{told} (found out at {certificate['at']:%Y-%m-%d %H:%M} UTC)"
