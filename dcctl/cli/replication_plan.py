"""``dcctl replication plan`` and ``apply``: what a pass would do, read by a person before it is done."""

import json
from pathlib import Path
from typing import Any

import click

from dcctl.cli.output import emit
from dcctl.cli.replication_stage import Choice, Stage, choice_options, enter_stage
from dcctl.cli.replication_view import draw_tallies
from dcctl.cli.session import Session, command_options
from dcctl.errors import DriftFound, Refused, UsageError
from dcctl.shell import WallClock


@click.command()
@choice_options()
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Names to show.")
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a plan file with every name, for `apply`.",
)
@command_options
def plan(session: Session, *, choice: Choice, limit: int, save: Path | None) -> None:
    """Show what a pass would do, name by name. Changes nothing.

    With --save, read the file, strike out what should not be done, and hand it to `apply`.
    """
    from dcctl.domain.replication_plan import Planned, plan_document
    from dcctl.engines.replication_run import replicate_once
    from dcctl.wiring.replication import whole_pair_of

    stage = enter_stage(session, choice).with_those_that_come_and_go(look=True)
    entries: list[Planned] = []
    total = 0
    for container in stage.containers:

        def note(name: str, witness: Any, decision: Any, container: str = container) -> None:
            if save is not None or len(entries) < limit:
                entries.append(_planned(stage, container, name, witness, decision))

        options = stage.options(prefix=choice.prefix, plan=note)
        with stage.base(exclusive=False) as base:
            (tally,) = replicate_once(stage.stores(), base, (container,), options)
        total += tally.count("planned")
    if save is not None:
        document = plan_document(whole_pair_of(stage.settings), WallClock().now(), entries)
        _write(save, json.dumps(document, indent=1))
    names = [_shown(one) for one in entries[:limit]]

    def draw(out: Any) -> None:
        for one in names:
            out.print(f"{one['decision']:<10} {one['from']:<8} {one['name']}")
        out.print(f"{total} names would be looked at" if total else "both sides list the same")
        if save is not None:
            out.print(
                f"read {save}, strike out what should not be done, then: dcctl replication apply {save}"
            )

    emit(session, {"total": total, "names": names}, draw)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@command_options
def apply(session: Session, *, file: Path) -> None:
    """Carry out a plan file: the names in it and no others.

    A name that changed at either side since the plan was made is refused; ends with 8 when there is one.
    """
    from dcctl.domain.replication_plan import read_plan
    from dcctl.engines.replication_plan import apply_plan
    from dcctl.wiring.replication import whole_pair_of

    stage = enter_stage(session)
    try:
        pair, entries = read_plan(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise UsageError("read a plan", on=str(file), saw=str(error)) from error
    if pair != whole_pair_of(stage.settings):
        raise Refused("apply a plan", on=str(file), reasons=(f"it is for {pair}",))
    unknown = {one.container for one in entries if not stage.settings.covers(one.container)}
    if unknown:
        raise Refused("apply a plan", reasons=(f"not configured: {', '.join(sorted(unknown))}",))
    with stage.base() as base:
        tallies = apply_plan(stage.stores(), base, entries, stage.options())
    emit(
        session,
        {"containers": [tally.document() for tally in tallies]},
        lambda out: draw_tallies(out, tallies),
    )
    left = sum(tally.count("stale") + tally.pending for tally in tallies)
    if left:
        raise DriftFound(
            "carry out the plan",
            on=str(file),
            saw=f"{left} of its names have changed since, or could not be carried",
            next_command=f"dcctl replication plan --save {file}",
        )


def _planned(stage: Stage, container: str, name: str, witness: Any, decision: Any) -> Any:
    from dcctl.domain.replication_plan import Planned, Version

    side = next(
        (getattr(decision, word) for word in ("source", "present", "side") if hasattr(decision, word)), None
    )
    row = witness.a or witness.b
    return Planned(
        container=container,
        name=name,
        decision=type(decision).__name__.lower(),
        site=stage.sites[side] if side is not None else "",
        bytes=row.bytes,
        a=Version.of(witness.a),
        b=Version.of(witness.b),
    )


def _shown(one: Any) -> dict[str, Any]:
    stamp = max(version.stamp for version in (one.a, one.b) if version is not None)
    return {
        "container": one.container,
        "name": one.name,
        "decision": one.decision,
        "from": one.site,
        "bytes": one.bytes,
        "stamp": stamp,
    }


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError("write a plan", on=str(path), saw=str(error)) from error
