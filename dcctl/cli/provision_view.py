"""How a provision plan looks: as a diff for a person, as a document for a program."""

from typing import TYPE_CHECKING, Any

from dcctl.domain.provision import CHANGES, Action, Do, Plan

if TYPE_CHECKING:
    from rich.console import Console

SIGNS = {
    Do.CREATE: ("+", "green"),
    Do.MEND: ("+", "green"),
    Do.POWER_ON: ("~", "yellow"),
    Do.DELETE: ("-", "red"),
    Do.KEEP: ("=", "dim"),
    Do.DIFFERS: ("!", "magenta"),
    Do.ORPHAN: ("!", "magenta"),
}
PLANNED = {
    Do.CREATE: "to create",
    Do.MEND: "to make anew",
    Do.POWER_ON: "to power on",
    Do.DELETE: "to delete",
    Do.KEEP: "as configured",
    Do.DIFFERS: "not as configured",
    Do.ORPHAN: "not configured",
}
DONE = {
    **PLANNED,
    Do.CREATE: "created",
    Do.MEND: "made anew",
    Do.POWER_ON: "powered on",
    Do.DELETE: "deleted",
}
GIB = 2**30
MIB = 2**20


def summary(plan: Plan, words: dict[Do, str] | None = None) -> str:
    """How many servers of each kind, in the order of ``Do``; ``words`` is PLANNED or DONE."""
    counts = {do: sum(action.do is do for action in plan.actions) for do in Do}
    told = [f"{count} {(words or PLANNED)[do]}" for do, count in counts.items() if count]
    return ", ".join(told) or "no servers"


def plan_document(environment: str, plan: Plan) -> dict[str, Any]:
    """The plan for ``-o json`` (docs/reference/provision.md)."""
    return {
        "environment": environment,
        "changes": len(plan.changes),
        "drift": len(plan.drift),
        "actions": [
            {
                "site": action.site,
                "name": action.name,
                "do": str(action.do),
                "changes": action.do in CHANGES,
                "address": _address(action),
                "differences": list(action.differences),
            }
            for action in plan.actions
        ],
    }


def draw_plan(console: "Console", plan: Plan) -> None:
    """One line per server, sites apart."""
    from rich.table import Table

    for site in dict.fromkeys(action.site for action in plan.actions):
        console.print(site, style="bold")
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
        for action in plan.at(site):
            sign, style = SIGNS[action.do]
            cells = (f"  {sign}", action.name, str(action.do), _address(action), _details(action))
            table.add_row(*cells, style=style)
        console.print(table)
    console.print(f"plan: {summary(plan)}")


def _address(action: Action) -> str:
    if action.spec is not None:
        return action.spec.address
    return (action.server.address if action.server else None) or ""


def _details(action: Action) -> str:
    if action.differences:
        return "; ".join(action.differences)
    if action.do is Do.ORPHAN:
        return "ours, and not configured; --prune deletes it"
    if action.do is Do.MEND and action.server is not None:
        return f"an earlier create left it unfinished ({action.server.status})"
    if action.do is Do.CREATE and action.spec is not None:
        size = action.spec.size
        memory, disk = size.memory_bytes // MIB, size.disk_bytes / GIB
        return f"{size.vcpus} vCPU, {memory} MiB, {disk:g} GiB, {action.spec.image}"
    return ""
