"""``dcctl replication``: what is done once, before and beside the passes."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.replication_stage import Choice, enter_stage
from dcctl.cli.replication_view import draw_findings, draw_import, draw_tallies
from dcctl.cli.session import Session, command_options
from dcctl.errors import DriftFound, Refused, UsageError
from dcctl.shell import WallClock

if TYPE_CHECKING:
    from dcctl.domain.replication_check import ContainerFacts, Finding


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="Names to show.")
@command_options
def report(session: Session, *, limit: int) -> None:
    """Name the documents that have not arrived at the other side. After a site is lost: what it took along.

    From the outbox, from what the last pass saw, and from the heartbeats at whichever site still answers,
    which say until when everything had arrived. A cluster that does not answer is no error here.
    """
    from dcctl.engines.replication_lag import read_heartbeats
    from dcctl.engines.replication_run import run_to_end
    from dcctl.wiring import replication_outbox

    stage = enter_stage(session).with_those_that_come_and_go(look=False)
    sites = sorted(stage.settings.stores)
    with replication_outbox(stage.settings) as outbox:
        told = outbox.pending(limit) if outbox is not None else None
    with stage.base(exclusive=False) as base:
        seen = {name: base.outcome(name) for name in stage.containers}
    beats = run_to_end(read_heartbeats(stage.stores(), stage.settings.heartbeat))
    if told is None and all(isinstance(one, str) for one in beats.values()) and not any(seen.values()):
        raise Refused(
            "name what has not arrived",
            reasons=(
                "no replication.outbox is configured: nobody told what was written",
                "no pass was made from here, and no heartbeat can be read",
            ),
            next_command="dcctl replication plan, when both clusters answer",
        )
    documents = [
        {
            "site": one.site,
            "container": one.container,
            "name": one.name,
            "begun": one.begun,
            "acknowledged": one.done,
        }
        for one in told or ()
    ]
    known = {(one["site"], one["container"], one["name"]) for one in documents}
    listed = [
        {"site": site, "container": container, "name": name, "seen": at.instant}
        for container, outcome in seen.items()
        if outcome is not None
        for at, tally in [outcome]
        for site, side in zip(sites, ("a", "b"), strict=True)
        for name in tally.get("behind", {}).get(side, {}).get("names", ())[:limit]
        if (site, container, name) not in known
    ]

    def draw(out: Any) -> None:
        for source, beat in beats.items():
            if isinstance(beat, str):
                out.print(f"{source:<8} until when its documents have arrived is not known: {beat}")
            else:
                out.print(
                    f"{source:<8} everything acknowledged there before {beat.until.isoformat()} has arrived"
                )
        for one in documents:
            what = one["acknowledged"] or "not known to be acknowledged"
            out.print(f"{one['site']:<8} {one['container']}/{one['name']}  {what}")
        for one in listed:
            out.print(f"{one['site']:<8} {one['container']}/{one['name']}  seen there alone at {one['seen']}")
        out.print(f"{len(documents) + len(listed)} documents have not arrived")

    heartbeats = {
        source: beat if isinstance(beat, str) else beat.document() for source, beat in beats.items()
    }
    emit(session, {"documents": documents, "listed": listed, "heartbeats": heartbeats}, draw)


@click.command("import")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--container", required=True, metavar="NAME", help="The container to bring them into.")
@click.option("--prefix", default="", metavar="TEXT", help="What names begin with, before the file's path.")
@click.option("--certify", is_flag=True, help="Read every file again and compare manifests of all three.")
@command_options
def import_(session: Session, *, directory: Path, container: str, prefix: str, certify: bool) -> None:
    """Bring a directory's files into both sides. Later passes write only what changed since.

    A file is stored under its modification time. Nothing is deleted. Ends with 8 when not all is there.
    """
    from dcctl.engines.replication_run import import_tree
    from dcctl.wiring import file_tree

    stage = enter_stage(session, Choice(containers=(container,)))
    done, certificate = import_tree(
        stage.stores(), file_tree(directory), container, stage.options(prefix=prefix), certify=certify
    )
    emit(
        session,
        done.document() | {"certificate": certificate},
        lambda out: draw_import(out, done.document(), certificate),
    )
    if not done.complete or (certificate is not None and not certificate["same"]):
        raise DriftFound(
            "bring all files in",
            on=str(directory),
            saw="not every file is on both sides, or a side has others",
            next_command=f"dcctl replication import {directory} --container {container} --certify",
        )


@click.command()
@command_options
def init(session: Session) -> None:
    """Make the containers on both sides and give them the key that lets signed requests in."""
    from dcctl.config.reference import resolve
    from dcctl.domain.replication_account import account_of, own_name
    from dcctl.engines.replication_run import midway

    stage = enter_stage(session)
    key = "" if stage.settings.tokens else resolve(stage.settings.signed.container_key)
    names = stage.settings.all_containers
    done: list[dict[str, Any]] = []
    with midway(lambda: any(one["changed"] for one in done)):
        for account in stage.accounts:
            for owner in stage.owners(account).values():
                for name in (name for name in names if account_of(name) == account):
                    changed = owner.ensure_container(own_name(name), key)
                    done.append({"site": owner.site, "container": name, "changed": changed})

    def draw(out: Any) -> None:
        for one in done:
            out.print(
                f"{one['site']:<8} {one['container']:<24} {'set up' if one['changed'] else 'as it was'}"
            )

    emit(session, {"containers": done}, draw)


@click.command()
@command_options
def check(session: Session) -> None:
    """Look at everything that replication relies on. Ends with 5 when it must not run. Changes nothing."""
    from dcctl.config.reference import resolve
    from dcctl.domain.replication_account import DEFAULT, account_of, own_name
    from dcctl.domain.replication_check import (
        decide_cluster,
        decide_container,
        decide_gap,
        decide_pair,
        decide_tokens,
        decide_writable,
    )
    from dcctl.engines.replication_run import ask_writable, run_to_end

    stage = enter_stage(session)
    key = "" if stage.settings.tokens else resolve(stage.settings.signed.container_key)
    stage = stage.with_those_that_come_and_go(look=True)
    names = tuple(dict.fromkeys((*stage.containers, *stage.settings.all_containers)))
    findings: list[Finding] = []
    seen: dict[str, list[ContainerFacts]] = {}
    for account in stage.accounts:
        for owner in stage.owners(account).values():
            cluster = owner.observe_cluster()
            where = cluster if account == DEFAULT else replace(cluster, site=f"{owner.site}:{account}")
            findings += decide_cluster(where, realm=stage.settings.realm)
            for name in names:
                if account_of(name) != account:
                    continue
                facts = owner.observe_container(own_name(name))
                findings += decide_container(facts, site=owner.site, container=name, key=key)
                seen.setdefault(name, []).extend(
                    [replace(facts, container=name)] if facts is not None else []
                )
    for pair in seen.values():
        if len(pair) == len(stage.settings.stores):
            findings += decide_pair(*pair)
    if stage.settings.tokens:
        findings += decide_tokens()
    elif not any(one.level == "refuse" for one in findings):
        asked = run_to_end(ask_writable(stage.stores(), names))
        for (site, name), refusal in asked.items():
            findings += decide_writable(site, name, refusal)
    with stage.base(exclusive=False) as base:
        for name in () if stage.settings.tokens else stage.containers:
            complete = base.complete(name)
            findings += decide_gap(
                name,
                complete[0].instant if complete else None,
                now=WallClock().now(),
                trusted=stage.settings.reclaim_age - stage.settings.margin,
            )
    document = {"findings": [vars_of(one) for one in findings]}
    emit(session, document, lambda out: draw_findings(out, findings))
    refused = tuple(f"{one.where}: {one.sentence}" for one in findings if one.level == "refuse")
    if refused:
        raise Refused("replicate", reasons=refused, next_command="dcctl replication init")


def vars_of(finding: "Finding") -> dict[str, str]:
    return {"level": finding.level, "where": finding.where, "sentence": finding.sentence}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be set.")
@command_options
def settings(session: Session, *, dry_run: bool) -> None:
    """Make access lists and metadata of the containers the same: the side that changed one wins.

    Ends with 8 when both sides changed the same one differently; such a one is left as it is.
    """
    from dcctl.domain.replication_account import account_of, own_name
    from dcctl.domain.replication_settings import merge_settings
    from dcctl.engines.replication_run import midway

    stage = enter_stage(session).with_those_that_come_and_go(look=True)
    changed: list[dict[str, Any]] = []
    conflicts: list[str] = []
    owners = {account: list(stage.owners(account).values()) for account in stage.accounts}
    with stage.base(exclusive=not dry_run) as base, midway(lambda: bool(changed) and not dry_run):
        for name in stage.containers:
            of_account = owners[account_of(name)]
            facts = [one.observe_container(own_name(name)) for one in of_account]
            if None in facts:
                raise Refused("compare settings", on=name, reasons=("a side has no such container",))
            now = [dict(one.settings) for one in facts if one is not None]
            merged = merge_settings(base.settings(name), now[0], now[1])
            conflicts += [f"{name}: {key}" for key in merged.conflicts]
            for owner, wanted, has in zip(of_account, (merged.a, merged.b), now, strict=True):
                if wanted != has:
                    changed.append({"site": owner.site, "container": name, "settings": wanted})
                    if not dry_run:
                        owner.ensure_settings(own_name(name), wanted)
            if not dry_run:
                base.agree_settings(name, merged.agreed)

    def draw(out: Any) -> None:
        for one in changed:
            out.print(f"{one['site']:<8} {one['container']:<24} {one['settings']}")
        for key in conflicts:
            out.print(f"CONFLICT {key}: changed differently at both sides; set it by hand")
        if not changed and not conflicts:
            out.print("the same on both sides")

    emit(session, {"changed": changed, "conflicts": conflicts, "dry_run": dry_run}, draw)
    if conflicts:
        raise DriftFound("make settings the same", saw="; ".join(conflicts), next_command="swift post")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--container", required=True, metavar="NAME", help="The container they are in.")
@click.option("--all", "everything", is_flag=True, help="All names that wait for a decision.")
@command_options
def keep(session: Session, *, names: tuple[str, ...], container: str, everything: bool) -> None:
    """Decide that undecided names stay: they are put back where they are missing.

    Ends with 8 when one has changed meanwhile.
    """
    _answer(session, names, container, everything=everything, keep=True)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--container", required=True, metavar="NAME", help="The container they are in.")
@click.option("--all", "everything", is_flag=True, help="All names that wait for a decision.")
@command_options
def remove(session: Session, *, names: tuple[str, ...], container: str, everything: bool) -> None:
    """Decide that undecided names go: their bytes go to the trash, and the side that has them deletes them.

    Ends with 8 when one has changed meanwhile.
    """
    _answer(session, names, container, everything=everything, keep=False)


def _answer(
    session: Session, names: tuple[str, ...], container: str, *, everything: bool, keep: bool
) -> None:
    from dcctl.engines.replication_run import answer

    if bool(names) == everything:
        raise UsageError("decide names", saw="name them, or say --all")
    odd = [ascii(name) for name in names if any("\udc80" <= letter <= "\udcff" for letter in name)]
    if odd:
        raise UsageError("decide names", saw=f"not UTF-8, and Swift has no such names: {', '.join(odd)}")
    stage = enter_stage(session, Choice(containers=(container,)))
    with stage.base() as base:
        unknown = set(names) - {held.row.name for held in base.held(container)}
        if unknown:
            raise UsageError(
                "decide names",
                on=container,
                saw=f"not undecided: {', '.join(sorted(unknown))}",
                next_command="dcctl replication status",
            )
        tally = answer(stage.stores(), base, container, stage.options(), names=frozenset(names), keep=keep)
    emit(session, tally.document(), lambda out: draw_tallies(out, [tally]))
    if tally.pending:
        raise DriftFound(
            "decide names",
            on=container,
            saw=f"{tally.pending} have changed meanwhile, or wait for a clock",
            next_command="dcctl replication once",
        )
