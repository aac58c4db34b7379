"""``dcctl provision plan|apply|destroy``: the clouds run what is configured, and nothing else of ours."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import Progress, console, emit
from dcctl.cli.provision_view import DONE, draw_plan, plan_document, summary
from dcctl.cli.session import Session, command_options, yes_option
from dcctl.domain.machine import Server, ServerSpec
from dcctl.domain.provision import Plan, decide_destroy, decide_provision
from dcctl.domain.refusal import Refusal
from dcctl.engines import provision as engine
from dcctl.errors import CredentialsRefused, DcctlError, DriftFound, Refused, UsageError
from dcctl.shell import Interruption, WallClock, at_once, perform

if TYPE_CHECKING:
    from dcctl.adapters.state import Observations
    from dcctl.config.schema import Configuration
    from dcctl.domain.known_hosts import KnownHost
    from dcctl.domain.step import Work
    from dcctl.ports import Clock, Journal

site_option = click.option(
    "--site", "sites", multiple=True, metavar="SITE", help="Only this site; may be given more than once."
)
prune_option = click.option("--prune", is_flag=True, help="Delete servers of ours that are not configured.")


@click.group()
def provision() -> None:
    """Make both clouds run the machines that are configured."""


@provision.command()
@site_option
@prune_option
@click.option("--exit-code", "exit_code", is_flag=True, help="End with 8 when anything is not as configured.")
@command_options
def plan(session: Session, *, sites: tuple[str, ...], prune: bool, exit_code: bool) -> None:
    """Show what `apply` would do, and what differs from the configuration. Changes nothing."""
    with _stage(session, sites) as stage:
        do_plan(session, stage, prune=prune, exit_code=exit_code)


@provision.command()
@site_option
@prune_option
@yes_option
@command_options
def apply(session: Session, *, sites: tuple[str, ...], prune: bool, yes: bool) -> None:
    """Create what is missing, power on what is off, and wait until every machine answers as itself.

    May be repeated at any time, also after it failed or was killed. What differs is shown and left.
    """
    with _stage(session, sites) as stage:
        do_apply(session, stage, prune=prune, yes=yes)


@provision.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@site_option
@yes_option
@command_options
def destroy(session: Session, *, names: tuple[str, ...], sites: tuple[str, ...], yes: bool) -> None:
    """Delete every server of ours, or those named. Servers of others are never touched."""
    with _stage(session, sites) as stage:
        do_destroy(session, stage, names=names, sites_chosen=bool(sites), yes=yes)


@dataclass(frozen=True)
class Stage:
    """An environment, ready to be provisioned; ``means.machines`` holds the sites that were chosen.

    ``command`` is how the next command begins: ``dcctl -e NAME``.
    """

    environment: str
    command: str
    wanted: Sequence[ServerSpec]
    witness: "KnownHost | None"
    means: engine.Means
    observations: "Observations"
    run: "Callable[[], AbstractContextManager[Journal]]"
    clock: "Clock"


@contextmanager
def _stage(session: Session, sites: tuple[str, ...]) -> Iterator[Stage]:
    from dcctl import wiring
    from dcctl.adapters.host_keys import generate_host_key, observe_authorized_key
    from dcctl.config.expand import server_specs

    configuration = session.configuration()
    ssh = configuration.ssh
    authorized_key = observe_authorized_key(ssh.public_key_path, ssh.private_key.path)
    clock = WallClock()
    with ExitStack() as stack:
        machines = {
            site: stack.enter_context(wiring.machines(configuration, site))
            for site in choose_sites(configuration, sites)
        }
        yield Stage(
            environment=configuration.environment,
            command=session.dcctl,
            wanted=server_specs(configuration),
            witness=wiring.witness_host(configuration),
            means=engine.Means(
                machines=machines,
                known_hosts=wiring.known_hosts(configuration),
                remote=lambda name: wiring.remote(configuration, name),
                make_host_key=generate_host_key,
                operator=engine.Operator(ssh.user, ssh.port, (authorized_key,)),
            ),
            observations=wiring.observations(configuration),
            run=lambda: wiring.journal(configuration, what="provision", clock=clock),
            clock=clock,
        )


def choose_sites(configuration: "Configuration", given: Sequence[str]) -> tuple[str, ...]:
    """The sites named with ``--site``, or all. UsageError for an unknown one."""
    for site in given:
        if site not in configuration.sites:
            near = get_close_matches(site, configuration.sites, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            saw = f"the sites are {', '.join(configuration.sites)}{hint}"
            raise UsageError(f"there is no site {site!r}", saw=saw)
    return tuple(site for site in configuration.sites if site in given or not given)


def do_plan(session: Session, stage: Stage, *, prune: bool, exit_code: bool) -> None:
    """Print the plan. DriftFound with ``exit_code`` when anything is not as configured."""
    decided = _decide(stage, prune=prune)
    emit(session, plan_document(stage.environment, decided), lambda out: draw_plan(out, decided))
    if exit_code and (decided.changes or decided.drift):
        raise DriftFound(
            "compare both clouds with the configuration",
            on=stage.environment,
            saw=summary(decided),
            next_command=f"{stage.command} provision apply",
        )


def do_apply(session: Session, stage: Stage, *, prune: bool, yes: bool) -> None:
    """Show the plan, ask, carry it out as a run, and look again."""
    decided = _decide(stage, prune=prune)
    _show(session, decided)
    command = f"{stage.command} provision apply" + (" --prune" if prune else "")
    if decided.changes:
        confirm(f"apply this to {stage.environment}", yes=yes, command=f"{command} --yes")
    run = _carry_out(stage, decided, engine.apply(decided, stage.means), "provision apply", resume=command)
    _observe(stage)
    did = f"done: {summary(decided, DONE)}" if decided.changes else f"nothing to do: {summary(decided)}"
    _end(session, stage, decided, run, f"{did}; machines answer as themselves (run {run})")


def do_destroy(
    session: Session, stage: Stage, *, names: Sequence[str], sites_chosen: bool, yes: bool
) -> None:
    """Show what would be deleted, ask, delete it. Refused while a site is dark, unless sites were chosen."""
    observed, dark = _look(stage)
    if dark and not sites_chosen:
        answering = [site for site in stage.means.machines if site not in dark]
        raise Refused(
            "destroy",
            on=stage.environment,
            reasons=tuple(f"{site} cannot be asked what it runs: {error}" for site, error in dark.items()),
            next_command=f"{stage.command} provision destroy --site {answering[0]}" if answering else "",
        )
    _raise_dark(stage, dark)
    decided = _agreed(decide_destroy(stage.environment, observed, names=names), "destroy", stage.environment)
    if not decided.changes:
        emit(session, plan_document(stage.environment, decided), lambda out: out.print("no server of ours"))
        return
    _show(session, decided)
    command = " ".join((stage.command, "provision destroy", *names))
    confirm(f"delete these from {stage.environment}", yes=yes, command=f"{command} --yes")
    work = engine.destroy(decided, stage.means)
    run = _carry_out(stage, decided, work, "provision destroy", resume=command)
    _observe(stage)
    _end(session, stage, decided, run, f"done: {summary(decided, DONE)} (run {run})")


def _decide(stage: Stage, *, prune: bool) -> Plan:
    observed = _observe(stage)
    decided = decide_provision(stage.environment, stage.wanted, observed, prune=prune)
    return _agreed(decided, "provision", stage.environment)


def _agreed(decided: Plan | Refusal, tried: str, environment: str) -> Plan:
    if isinstance(decided, Refusal):
        raise Refused(tried, on=environment, reasons=decided.reasons)
    return decided


def _carry_out(stage: Stage, decided: Plan, work: "Work[Any]", command: str, *, resume: str) -> str:
    about = {
        "command": command,
        "environment": stage.environment,
        "plan": [f"{action.do} {action.name}" for action in decided.changes],
    }
    # Ctrl-C is held from before the run has a name, so that its journal always tells how it ended.
    with Interruption() as held, stage.run() as journal, Progress(command) as progress:
        if stage.witness is not None:
            stage.means.known_hosts.record(stage.witness)
        perform(
            work,
            clock=stage.clock,
            journal=journal,
            seen=progress,
            about=about,
            resume=resume,
            interruption=held,
        )
        return journal.run


def _show(session: Session, decided: Plan) -> None:
    """The plan before it is carried out; standard output is kept for the one document of ``-o json``."""
    draw_plan(console(sys.stderr if session.json else sys.stdout), decided)


def _end(session: Session, stage: Stage, decided: Plan, run: str, sentence: str) -> None:
    document = {**plan_document(stage.environment, decided), "run": run}
    emit(session, document, lambda out: out.print(sentence))


def _observe(stage: Stage) -> dict[str, tuple[Server, ...]]:
    observed, dark = _look(stage)
    _raise_dark(stage, dark)
    return observed


def _look(stage: Stage) -> tuple[dict[str, tuple[Server, ...]], dict[str, DcctlError]]:
    """What each site shows and, for those that show nothing, why."""
    answers = at_once({site: machines.observe_servers for site, machines in stage.means.machines.items()})
    observed = {site: answer for site, answer in answers.items() if not isinstance(answer, DcctlError)}
    for site, servers in observed.items():
        stage.observations.record(site, servers, stage.clock.now())
    return observed, {site: answer for site, answer in answers.items() if isinstance(answer, DcctlError)}


def _raise_dark(stage: Stage, dark: Mapping[str, DcctlError]) -> None:
    if not dark:
        return
    error, *others = dark.values()
    for other in others:
        error.add_note(f"also: {other}")
    for site in dark:
        if (seen := stage.observations.last_seen(site)) is not None:
            names = ", ".join(server.name for server in seen.servers) or "nothing"
            error.add_note(f"{site} last answered at {seen.at:%Y-%m-%d %H:%M:%S} UTC and showed {names}")
    answering = [site for site in stage.means.machines if site not in dark]
    if answering and not isinstance(error, CredentialsRefused):
        error.next_command = f"{stage.command} provision plan --site {answering[0]}"
    raise error


def confirm(what: str, *, yes: bool, command: str) -> None:
    """Ask, unless ``yes``. Raises Refused without a terminal, or when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        reason = "it asks before it changes anything, and there is no terminal to ask on"
        raise Refused(what, reasons=(reason,), next_command=command)
    if not click.confirm(f"{what}?", err=True):
        raise Refused(what, reasons=("not confirmed",))
