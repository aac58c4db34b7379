"""``dcctl probe``: ask everything now, from here, or see what an agent saw last from where it stands."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.session import Session, command_options
from dcctl.errors import Unreachable, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from dcctl.config.schema import Configuration
    from dcctl.domain.probe import ProbeResult, ProbeSpec

WORDS = {True: ("right", "green"), False: ("wrong", "bold red"), None: ("unknown", "yellow")}
Look = Callable[[], "tuple[Mapping[str, Any], RenderableType]"]


def _complete(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    from dcctl.config.load import load
    from dcctl.wiring.probe import probe_specs

    environment = context.params.get("environment") or getattr(context.obj, "environment", None)
    words = _words(probe_specs(load(environment)))
    return [word for word in words if word.startswith(begun)]


@click.command()
@click.argument("targets", metavar="[TARGET]...", nargs=-1, shell_complete=_complete)
@click.option(
    "--from",
    "place",
    metavar="PLACE",
    help="What the agents at PLACE (a site, witness, or a machine) published last, instead of from here.",
)
@click.option(
    "--watch",
    is_flag=False,
    flag_value=2.0,
    type=click.FloatRange(min=0.5, max=3600),
    metavar="[SECONDS]",
    help="Look again every SECONDS (2), until Ctrl-C.",
)
@command_options
def probe(session: Session, *, targets: tuple[str, ...], place: str | None, watch: float | None) -> None:
    """Probe everything once, at once: machines, ZooKeeper, databases, documents, edges and both clouds.

    TARGET narrows it: a site, a machine, a kind of probe, or a probe's name (east-db-1/patroni). A site
    that is dark is a result and no error: the exit code is 0; it is 4 when nothing could be asked.
    """
    configuration = session.configuration()
    look = _published(configuration, place, targets) if place else _own(configuration, targets, watch)
    if watch is None:
        document, screen = look()
        emit(session, document, lambda console: console.print(screen))
    else:
        from dcctl.cli.status import watch_again

        watch_again(session, watch, look)


def _own(configuration: "Configuration", targets: Sequence[str], watch: float | None) -> Look:
    """Rounds from here."""
    from dcctl.wiring.probe import OPERATOR, probe_round, probe_specs

    specs = probe_specs(configuration)
    chosen = _chosen(specs, targets)
    ask = probe_round(configuration, specs=chosen)

    def look() -> "tuple[Mapping[str, Any], RenderableType]":
        at, began = datetime.now(UTC), time.monotonic()
        results = ask()
        took_s = round(time.monotonic() - began, 3)
        if all(result.ok is None for result in results):
            saw = next((result.saw for result in results), "there is no such probe")
            raise Unreachable("probe", on=configuration.environment, saw=f"nothing could be asked: {saw}")
        document = {
            "at": at,
            "from": OPERATOR,
            "took_s": took_s,
            "results": [asdict(each) for each in results],
        }
        return document, _screen(results, f"from here, in {took_s:.1f} s", health=watch is not None)

    return look


def _published(configuration: "Configuration", place: str, targets: Sequence[str]) -> Look:
    """What the agents at ``place`` saw last."""
    from dcctl.config import expand

    known = {machine.name: machine.place for machine in expand.with_role(configuration, "agent")}
    if place not in (*known, *known.values()):
        words = ", ".join([*dict.fromkeys(known.values()), *known])
        raise UsageError(f"no agent is at {place!r}; known: {words}" if known else "no machine has an agent")

    def look() -> "tuple[Mapping[str, Any], RenderableType]":
        from rich.console import Group

        from dcctl.wiring.traffic import vantages

        with vantages(configuration) as port:
            seen = [each for each in port.observe_vantages() if place in (each.vantage, each.place)]
        if not seen:
            raise Unreachable(
                "read what was seen",
                on=place,
                saw="its agents are silent: none has published anything while its session lives",
                next_command="dcctl probe agent",
            )
        now, documents, screens = datetime.now(UTC), [], []
        for each in seen:
            results = _chosen(each.results, targets)
            age_s = (now - each.at).total_seconds()
            documents.append(
                {"vantage": each.vantage, "place": each.place, "at": each.at, "age_s": round(age_s, 3)}
                | {"round": each.round, "results": [asdict(result) for result in results]}
            )
            screens.append(_screen(results, f"from {each.vantage}, {age_s:.1f} s ago", health=True))
        return {"at": now, "from": place, "vantages": documents}, Group(*screens)

    return look


def _chosen(probes: "Sequence[Any]", targets: Sequence[str]) -> "tuple[Any, ...]":
    """Those that any of ``targets`` names; all without one. ``probes`` are specs or results."""
    from difflib import get_close_matches

    known = _words(probes)
    for target in targets:
        if target not in known:
            near = get_close_matches(target, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"sites and kinds: {', '.join(known[:16])}"
            raise UsageError(f"nothing is probed as {target!r}; {hint}", next_command="dcctl probe --help")
    return tuple(
        each
        for each in probes
        if not targets or {each.name, each.target, each.kind, each.site, _what(each)} & set(targets)
    )


def _words(probes: "Sequence[ProbeSpec | ProbeResult]") -> list[str]:
    """Every word that chooses a probe: sites, kinds, what is probed, machines, names."""
    columns = (
        [each.site for each in probes],
        [each.kind for each in probes],
        [_what(each) for each in probes],
        [each.target for each in probes],
        [each.name for each in probes],
    )
    return list(dict.fromkeys(word for column in columns for word in column))


def _what(probe: "ProbeSpec | ProbeResult") -> str:
    return probe.name.partition("/")[2]


def _screen(results: "Sequence[ProbeResult]", where: str, *, health: bool) -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("probe", "kind", "", *(("health",) if health else ())):
        table.add_column(title, no_wrap=True)
    table.add_column("ms", justify="right")
    table.add_column("saw")
    for each in results:
        word, style = WORDS[each.ok]
        concluded = (str(each.health),) if health else ()
        table.add_row(
            each.name, each.kind, Text(word, style=style), *concluded, f"{each.took_s * 1000:.0f}", each.saw
        )
    return Group(_summary(results, where), table)


def _summary(results: "Sequence[ProbeResult]", where: str) -> "Text":
    from rich.text import Text

    counted = Counter(each.ok for each in results)
    text = Text(f"{len(results)} probes {where}: ")
    parts = [(counted[ok], *WORDS[ok]) for ok in WORDS if counted[ok]]
    for index, (number, word, style) in enumerate(parts):
        text.append(", " if index else "").append(f"{number} {word}", style=style)
    silent = sorted(
        {each.site for each in results} - {each.site for each in results if each.answered or each.ok is None}
    )
    for site in silent:
        text.append("\n  ! ", style="bold red").append(f"nothing answers from {site}")
    return text
