"""How a move between the sites looks before it is made, and after: one screen."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dcctl.cli.output import Hanging
from dcctl.domain.expected import Expected
from dcctl.domain.plan import Moved, Plan, Planned, needs_of, ways_back
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import OVERRIDABLE, rule_of

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.domain.leadership import RoleState
    from dcctl.domain.situation import Situation
    from dcctl.domain.status import MemberStatus

COLOURS = {"up": "green", "down": "red", "unknown": "yellow"}


def preview_document(
    what: str, site: str, situation: "Situation", decided: Plan | Refusal, expected: Expected
) -> dict[str, Any]:
    """Everything on the screen, and what it was decided from."""
    status, cluster = situation.status, situation.cluster.value
    return {
        "what": what,
        "site": site,
        "environment": situation.environment,
        "at": situation.at,
        "refused": list(decided.reasons) if isinstance(decided, Refusal) else [],
        "rules": _rules_document(situation, decided),
        "plan": asdict(decided) if isinstance(decided, Plan) else None,
        "standby_lag_s": {each.name: lag_seconds(each, situation) for each in status.database.members},
        "expected": asdict(expected),
        "auctions_late": expected.late_rounds(decided, situation.at) if isinstance(decided, Plan) else None,
        "auctions_missed": [asdict(each) for each in expected.missed(decided, situation.at)]
        if isinstance(decided, Plan)
        else None,
        "sites": [asdict(situation.state_of(each)) for each in situation.sites],
        "evidence": [
            {"vantage": vantage, "place": place, "age_s": age_s, "site": each, "sight": str(sight)}
            for each in situation.sites
            for vantage, place, sight, age_s in _evidence(situation, each)
        ],
        "voters": [asdict(voter) for voter in status.voters],
        "database": asdict(status.database),
        "patroni_keys": asdict(cluster) if cluster else None,
        "roles": [_role(role, situation) for role in situation.roles.value or ()],
        "capacity": asdict(situation.capacity.value) if situation.capacity.value else None,
        "documents": asdict(situation.documents.value)
        if situation.documents is not None and situation.documents.value is not None
        else None,
        "documents_at_risk": asdict(status.documents.value)
        if status.documents is not None and status.documents.value is not None
        else None,
        "pools": dict(situation.pools.value)
        if situation.pools and situation.pools.value is not None
        else None,
        "active_run": asdict(situation.active_run.value) if situation.active_run.value else None,
    }


def _rules_document(situation: "Situation", decided: Plan | Refusal) -> dict[str, Any]:
    """What stands in the way, by rule, and what was overridden for this run by whose word."""
    standing = decided.reasons if isinstance(decided, Refusal) else ()
    overridden = decided.overridden if isinstance(decided, Plan) else ()
    return {
        "in_the_way": [
            {"rule": rule_of(each), "reason": str(each), "overridable": rule_of(each) in OVERRIDABLE}
            for each in standing
        ],
        "overridden": [{"rule": str(each.rule), "reason": str(each)} for each in overridden],
        "overrides": [asdict(each) for each in situation.overrides],
    }


def moved_document(moved: Moved, run: str) -> dict[str, Any]:
    return {"run": run, **asdict(moved)}


def draw_preview(out: "Console", situation: "Situation", decided: Plan | Refusal, expected: Expected) -> None:
    """Evidence first, then what it costs, then the steps; a refusal's reasons come with the error."""
    from rich.text import Text

    _draw_evidence(out, situation)
    _draw_state(out, situation)
    for each in situation.overrides:
        out.print(Text(f"override  {each.sentence()}", style="bold yellow"))
    if isinstance(decided, Plan):
        for reason in decided.overridden:
            out.print(Text(f"  else    {reason}  [{reason.rule}]", style="yellow"))
        _draw_plan(out, decided, expected, situation)


def draw_against(out: "Console", refusal: Refusal) -> None:
    """What stands now against a run that is resumed: it is waited for, or ends the run."""
    for reason in refusal.reasons:
        out.print(Hanging("against  ", reason))


def draw_moved(out: "Console", moved: Moved, run: str) -> None:
    from rich.text import Text

    plan = moved.plan
    out.print(Text(f"done: {plan.what} of {plan.site} (run {run})", style="bold green"))
    for fence in moved.fences:
        out.print(f"  fence     {fence}")
    if moved.primary:
        out.print(f"  primary   {moved.primary}")
    for edge, server in moved.written_by.items():
        out.print(f"  write     acknowledged through {edge} by {server}")
    for role, holder in moved.roles.items():
        out.print(f"  {role:<9} {holder}")
    if moved.single_copy:
        word = f"SINGLE-COPY: {moved.primary} acknowledges writes that exist nowhere else"
        out.print(Text(f"  {word}", style="bold red"))


def _evidence(situation: "Situation", site: str) -> list[tuple[str, str, Any, float | None]]:
    ages = {each.name: each.age_s for each in situation.vantages.value or ()}
    return [
        (name, place, sight, round(ages[name], 1) if name in ages else 0.0)
        for name, place, sight in situation.sights_of(site)
    ]


def _draw_evidence(out: "Console", situation: "Situation") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("vantage", "at", "looked", *situation.sites, box=None, pad_edge=False)
    rows: dict[str, list[Any]] = {}
    for site in situation.sites:
        for name, place, sight, age_s in _evidence(situation, site):
            row = rows.setdefault(name, [name, place, f"{age_s:.0f} s ago", *["" for _ in situation.sites]])
            row[3 + situation.sites.index(site)] = Text(str(sight), style=COLOURS[str(sight)])
    for each in situation.vantages.value or ():
        if each.name in rows and each.place in situation.sites:
            word = "is there" if each.fresh else "stale"
            rows[each.name][3 + situation.sites.index(each.place)] = Text(word, style="dim")
    for row in rows.values():
        table.add_row(*row)
    out.print(table)


def _draw_state(out: "Console", situation: "Situation") -> None:
    status, cluster = situation.status, situation.cluster.value
    database = status.database
    kept = {each: str(situation.state_of(each).state) for each in situation.sites}
    states = (f"{each} is {'in rotation' if word == 'active' else word}" for each, word in kept.items())
    quorum = "; ".join(f"{each.name} {each.mode}" for each in status.voters)
    lines = [("sites", "; ".join(states) if situation.states.value is not None else situation.states.reason)]
    if database.members:
        named = ", ".join(cluster.synchronous) if cluster and cluster.synchronous else "nobody"
        leader = (cluster.leader if cluster else None) or "nobody"
        told = "".join(
            f"; {each.name}: {each.role}, timeline {each.timeline}{_lag(each, situation)}"
            for each in database.members
            if not each.reason
        )
        keys = f"leader key: {leader}; named synchronous: {named}" if cluster else situation.cluster.reason
        alive = ", ".join(cluster.members) if cluster else "not known"
        lines += [("quorum", f"{quorum}; it hears {alive or 'no database'}"), ("database", keys + told)]
    else:
        lines.append(("quorum", quorum))
    roles = [_role_words(role, situation) for role in situation.roles.value or ()]
    lines.append(("roles", "; ".join(roles) or situation.roles.reason or "none was ever held"))
    capacity = situation.capacity.value
    if capacity is not None:
        told = "; ".join(
            f"{line.group} {line.resource} {line.needed:g} of {line.available:g}"
            for line in capacity.lines
            if line.needed is not None and line.available is not None
        )
        lines.append(("capacity", f"{capacity.survivor} {capacity.fit}" + (f": {told}" if told else "")))
    if status.documents is not None:
        risk = status.documents.value
        lost = "; ".join(f"with {each}: {risk.lost_with(each)}" for each in situation.sites) if risk else ""
        lines.append(
            (
                "documents",
                f"lost now {lost}"
                if lost
                else f"not known which a site alone has: {status.documents.reason}",
            )
        )
    if situation.active_run.value is not None:
        lines.append(("run", situation.active_run.value.sentence()))
    for name, words in lines:
        out.print(Hanging(f"{name:<9}", words))


def _lag(member: "MemberStatus", situation: "Situation") -> str:
    """How far a standby is behind; lag is shown, and is never evidence."""
    if member.role == "primary":
        return ""
    if member.lag_bytes is None:
        return ", lag not known"
    lag_s = lag_seconds(member, situation)
    return f", {member.lag_bytes} bytes" + (f" and {lag_s:.0f} s behind" if lag_s is not None else " behind")


def lag_seconds(member: "MemberStatus", situation: "Situation") -> float | None:
    """Seconds of work that a standby lacks; None where that is not known."""
    if member.lag_bytes is None or member.role == "primary":
        return None
    if member.lag_bytes <= 0:
        return 0.0
    if member.replayed_at is None:
        return None
    return max(0.0, (situation.at - member.replayed_at).total_seconds())


def _draw_plan(out: "Console", plan: Plan, expected: Expected, situation: "Situation") -> None:
    for word, sentences in (("loss", plan.loss), ("note", plan.notes)):
        if sentences:
            out.print(Hanging(f"{word:<9}", "; ".join(sentences)))
    out.print(Hanging("duration ", expected.sentence(plan.limit_s)))
    out.print(Hanging("auctions ", f"late: {expected.late_rounds(plan, situation.at)}"))
    draw_steps(out, plan.steps, expected)


def draw_steps(out: "Console", steps: Sequence[Planned], expected: Expected) -> None:
    """In their order, what proves each, how long it may take and took before; what those that change
    something need, and the way back. A limit that past runs gave says how many."""
    from rich.table import Table
    from rich.text import Text

    if needs := needs_of(steps):
        out.print(Hanging("needs    ", needs))
    if back := ways_back(steps):
        out.print(Hanging("way back ", back))
    table = Table("", "step", "where", "is done when", "at most", "usually", box=None, pad_edge=False)
    for number, step in enumerate(steps, start=1):
        name = Text(step.name)
        if step.no_return:
            name.append("  <- point of no return", style="bold yellow")
        usual_s = expected.steps.get(step.name)
        usually = "" if usual_s is None else f"{usual_s:.1f} s"
        by = f" by {step.limit_runs} runs" if step.limit_runs else ""
        table.add_row(str(number), name, step.target, step.proof, f"{step.limit_s:.0f} s{by}", usually)
    out.print(table)


def _role(role: "RoleState", situation: "Situation") -> dict[str, Any]:
    return {
        "role": role.role,
        "epoch": role.epoch.number if role.epoch else None,
        "holder": role.term.holder if role.term else None,
        "place": situation.places.get(role.term.host) if role.term else None,
        "released": role.lease.released if role.lease else None,
    }


def _role_words(role: "RoleState", situation: "Situation") -> str:
    if role.term is None:
        over = role.lease is None or role.lease.released
        return f"{role.role}: nobody{'' if over else ', and its last work may not be over'}"
    place = situation.places.get(role.term.host, "elsewhere")
    return f"{role.role}: {role.term.host} at {place}, epoch {role.term.epoch.number}"
