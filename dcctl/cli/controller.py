"""``dcctl controller``: what the leader of the role ``controller`` runs."""

import os
import socket
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from dcctl.cli.session import Session, command_options
from dcctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcctl.config.schema import Configuration
    from dcctl.domain.automation import Mode
    from dcctl.domain.leadership import Term
    from dcctl.engines.controller import Controller
    from dcctl.ports import Automations
    from dcctl.shell import Interruption
    from dcctl.wiring.failover import Stage

ASKED_EVERY_S = 0.5
"""How late a pause may be noticed while a failover goes on."""


@click.command()
@click.option("--name", metavar="MACHINE", help="The machine that this is; by default its host name.")
@command_options
def controller(session: Session, *, name: str | None) -> None:
    """Give up a site that is lost, without a person, until asked to end.

    Agents run this while they lead the role controller: it is not for a prompt. What it does is said by
    automation.mode and `dcctl automation`; each failover is a run like any other.
    """
    from dcctl.adapters.guard import boot_clock
    from dcctl.cli.move import ask_within
    from dcctl.engines.agent import Moment
    from dcctl.engines.controller import Controller
    from dcctl.shell import Interruption, WallClock
    from dcctl.wiring import automation, ensemble

    configuration = session.configuration()
    machine = name or socket.gethostname()
    place = ensemble.places(configuration).get(machine)
    if place is None:
        raise UsageError("find this machine in dcctl.yaml", on=machine, saw="it is none of the environment")
    clock = WallClock()
    with (
        Interruption() as interruption,
        automation.stage(
            configuration, place=place, term=_term(machine), clock=clock, ask_within=ask_within
        ) as (stage, said),
    ):
        made = Controller(
            means=stage.means,
            configured=automation.configured_mode(configuration),
            automation=said,
            act=lambda lost: act(configuration, stage, lost, made, interruption),
            tell=lambda sentence: click.echo(f"controller: {sentence}", err=True),
        )
        loop = made.control()
        pause_s = next(loop)
        while not interruption.asked():
            time.sleep(pause_s)
            pause_s = loop.send(Moment(boot_clock(), datetime.now(UTC)))


def act(
    configuration: "Configuration", stage: "Stage", lost: str, made: "Controller", held: "Interruption"
) -> str:
    """Give up ``lost`` as a run of its own, exactly as ``dcctl failover apply`` does; the run's name.

    What people ask of it (``dcctl run pause``, ``abort``, ``skip``) is obeyed as by any run.
    """
    from dcctl import wiring
    from dcctl.cli.move import asked_of
    from dcctl.engines.failover import failover
    from dcctl.shell import WallClock, perform

    words, clock = f"failover apply --lost {lost}", WallClock()
    with (
        stopped_by_a_person(held, made.automation, made.configured) as interruption,
        wiring.journal(configuration, what="failover", clock=clock) as journal,
        stage.acting(journal, words) as means,
    ):
        assert means.journal is not None  # noqa: S101  # what acting gave it
        perform(
            failover(lost, means),
            clock=clock,
            journal=means.journal,
            about={
                "command": words,
                "environment": configuration.environment,
                "site": lost,
                "by": "automation",
                "verdict": made.settled[lost].verdict.sentence(),
            },
            resume=f"dcctl {words}",
            interruption=interruption,
            asked=asked_of(means.runs, journal.run),
        )
        return journal.run


@contextmanager
def stopped_by_a_person(
    held: "Interruption",
    automation: "Automations",
    configured: "Mode",
    *,
    look_every_s: float = ASKED_EVERY_S,
) -> "Iterator[Interruption]":
    """As ``held``, and asked to end too as soon as somebody pauses automation, or makes it manual."""
    from dcctl.domain.automation import why_not_automatic
    from dcctl.errors import DcctlError
    from dcctl.shell import Interruption

    interruption, over = Interruption(), threading.Event()

    def paused() -> bool:
        try:
            return bool(why_not_automatic(configured, automation.observe()))
        except DcctlError:
            return False  # nobody can be heard: what was begun under their eyes goes on

    def watch() -> None:
        while not over.wait(look_every_s):
            if held.asked() or paused():
                interruption.ask()

    watching = threading.Thread(target=watch, name="automation", daemon=True)
    watching.start()
    try:
        yield interruption
    finally:
        over.set()


def _term(machine: str) -> "Term | None":
    """The term that this process was started under; None at a prompt."""
    from dcctl.domain.automation import CONTROLLER
    from dcctl.domain.leadership import EPOCH_VARIABLE, Epoch, Term

    number = os.environ.get(EPOCH_VARIABLE)
    if number is None:
        return None
    return Term(CONTROLLER, Epoch.of(int(number)), "agent", machine, os.getppid(), datetime.now(UTC))
