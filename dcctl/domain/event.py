"""One line of the journal: the only record a run leaves, and what every screen and report is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """``seq`` counts from 1 within ``run``; ``at`` is aware UTC; ``fields`` are JSON values, no secret.

    Types in use: ``run.started run.resumed run.paused run.continued run.stated run.withheld
    run.not_aborted run.done run.failed run.overtaken run.interrupted run.aborted step.started step.done
    step.failed wait.started wait.done wait.failed`` from the shell, ``deploy.changed deploy.failed`` from
    a deploy, ``undo.written undo.done`` and ``drill.*`` from a drill, ``failover.* switchover.*
    admission.*`` from moves between the sites, ``rule.overridden`` and ``move.ended`` from all of them. A new
    type is added here first.
    """

    at: datetime
    run: str
    seq: int
    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)


SENTENCES = {
    "run.started": "the run begins",
    "run.resumed": "RESUMED by {by}",
    "run.paused": "PAUSED by {by}{because}",
    "run.continued": "goes on",
    "run.stated": "STATED by {by} (rule {rule}): {step}: {reason}",
    "run.withheld": "not begun as yet: {step}: {saw}",
    "run.not_aborted": "not aborted, as {by} asked: the point of no return is passed",
    "run.aborted": "ABORTED: {saw}",
    "run.done": "the run is done",
    "run.failed": "the run failed: {saw}",
    "run.overtaken": "the run is over, overtaken by what happened: {saw}",
    "run.interrupted": "the run was interrupted: {saw}",
    "step.failed": "failed: {step} on {target}: {saw}",
    "undo.written": "on disk: what must be undone ({undo} {target})",
    "undo.done": "undone ({undo} {target})",
    "deploy.changed": "{saw}",
    "deploy.failed": "{saw}",
    "rule.overridden": "OVERRIDDEN: {rule} by {by}: {reason}{waived}",
    "switchover.escalated": "{source} died in the middle: this goes on as its failover ({saw})",
    "move.ended": "the {what} is over",
    "failover.decided": "{site} is given up for {survivor}; {primary} was primary",
    "failover.returned": "{site} is back, quarantined: what is left is proven, nothing is switched off",
    "failover.power": "{saw}",
    "failover.fenced": "FENCED: {saw}",
    "failover.writes": "writes are acknowledged at {site}",
    "failover.single_copy": "SINGLE-COPY: {primary} acknowledges writes that exist nowhere else",
    "switchover.not_ready": "{member} wrote no checkpoint before the primary was to move: {saw}",
    "switchover.held": "clients of the pools waited: {saw}",
    "switchover.decided": "the primary moves from {primary} to {candidate} at {site}",
    "admission.decided": "nothing stands against the admission of {site}",
    "admission.admitted": "{site} is admitted",
    "drill.started": "steady: {primary} is primary, {standby} its synchronous standby at the other site",
    "drill.warm": "client: writes are acknowledged through every edge",
    "drill.fault": "FAULT: {what}",
    "drill.promoted": "Patroni promoted {primary} at {site}",
    "drill.served": "client: writes have been acknowledged again for {for_s:g} s",
    "drill.not_served": "writes did not recover in the time given: {saw}",
    "drill.failed_over": "failed over: {site} is given up and quarantined, the survivor carries everything",
    "drill.not_failed_over": "not failed over: {saw}",
    "drill.sought": "{missing} acknowledged documents are not at {site}",
    "drill.not_sought": "which documents {site} has is not known: {saw}",
    "drill.switched_over": "switched over: {site} holds the primary and the singletons",
    "drill.not_switched_over": "not switched over: {saw}",
    "drill.admitted": "{site} is admitted: in rotation again",
    "drill.converged": "every acknowledged document is at every site",
    "drill.not_converged": "documents are missing still: {saw}",
    "drill.business_read_back": "the application's clients: stopped, and asked for every record once more",
    "drill.healed": "healed: {what}",
    "drill.settled": "steady again: {primary} is primary, {standby} its synchronous standby elsewhere",
    "drill.not_settled": "the steady state did not return in the time given: {saw}",
    "drill.kept": "table {table} is kept for looking",
    "drill.read_back": "client: stopped, and asked for every row once more",
    "drill.ended": "the drill is over",
}
"""What an event says to a person; the others are steps and waits, or left to ``journal.jsonl``."""


def sentence(event: Event) -> str:
    """``event`` as a person reads it; empty where it has no sentence."""
    template = SENTENCES.get(event.type, "")
    try:
        return template.format_map(event.fields)
    except (KeyError, ValueError):
        return event.type
