"""How replication's results look in text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dcctl.cli.replication_pause import pause_line

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.domain.replication_check import Finding
    from dcctl.domain.replication_lag import Lag
    from dcctl.domain.replication_pass import Tally
    from dcctl.engines.replication_verify import Verdict


def tally_line(tally: "Tally") -> str:
    """One pass on one line."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.kinds.items())) or "nothing to do"
    rate = f", {(sum(tally.kinds.values())) / tally.seconds:.0f}/s" if tally.seconds and tally.kinds else ""
    return (
        f"{tally.container}: {tally.rows} objects the same, {kinds}"
        f" ({tally.bytes} bytes, {tally.seconds:.1f} s{rate})"
    )


def progress_line(tally: "Tally") -> str:
    """A pass under way: what was done, at which rate, and when it will be over."""
    done, per_s = sum(tally.kinds.values()), max(tally.seconds, 0.001)
    left = f", about {tally.left_s:.0f} s left" if tally.left_s is not None else ""
    expected = f" of about {tally.expected}" if tally.expected else ""
    return (
        f"{tally.container}: {tally.rows}{expected} looked at, {done} carried ({done / per_s:.0f}/s),"
        f" {tally.todo} to do on this page, {tally.bytes} bytes ({tally.bytes / per_s:.0f}/s){left}"
    )


def lag_line(lag: "Lag") -> str:
    """How far behind the other side is, by what the application told."""
    p50 = f"{lag.p50_s:.2f}" if lag.p50_s is not None else "-"
    p99 = f"{lag.p99_s:.2f}" if lag.p99_s is not None else "-"
    oldest = f", the oldest for {lag.oldest_s:.1f} s" if lag.oldest_s is not None else ""
    pending = f"{lag.pending} pending ({lag.bytes} bytes)"
    return f"lag from {lag.site}: p50 {p50} s, p99 {p99} s, {pending}{oldest}"


def draw_tallies(out: "Console", tallies: "Sequence[Tally]") -> None:
    for tally in tallies:
        out.print(tally_line(tally))
        if tally.conflicts:
            out.print(f"  {tally.conflicts} conflicts: the losers are kept in the conflicts container")
        for reason in tally.reasons:
            out.print(f"  {reason}")


def draw_verdicts(out: "Console", verdicts: "Sequence[Verdict]", sites: Sequence[str]) -> None:
    for verdict in verdicts:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict.kinds.items()))
        out.print(f"{verdict.container}: {verdict.rows} the same" + (f", {kinds}" if kinds else ""))
        for one in verdict.document(sites)["differences"]:
            out.print(f"  {one['kind']:<10} {one['site'] or 'both':<8} {one['name']}: {one['saw']}")


def draw_status(out: "Console", document: Mapping[str, Any]) -> None:
    if (paused := pause_line(document)) is not None:
        out.print(paused)
    for sentence in document.get("not_promised", ()):
        out.print(f"NOT PROMISED with tokens: {sentence}")
    for one in document["containers"]:
        if one["tally"] is None:
            out.print(f"{one['container']}: no pass yet (dcctl replication once)")
            continue
        tally = one["tally"]
        rows = one["rows"] if one["rows"] is not None else "unknown"
        out.print(
            f"{one['container']}: {rows} objects the same at {one['complete'] or 'no complete pass yet'}"
        )
        out.print(f"  last pass {one['last_pass']}: {tally['pending']} pending in {tally['seconds']} s")
        if tally["oldest_pending"]:
            out.print(f"  the oldest change that is on one side only: {tally['oldest_pending']}")
        for reason in tally["reasons"]:
            out.print(f"  {reason}")
        for name in one["undecided"]:
            out.print(f"  UNDECIDED {name['name']}: {name['reason']}")


def draw_shared(out: "Console", document: Mapping[str, Any]) -> None:
    if (paused := pause_line(document)) is not None:
        out.print(paused)
    for one in document["containers"]:
        held = [share for share in one["shares"] if share["holder"]]
        out.print(
            f"{one['container']}: {len(one['shares'])} shares, {len(held)} under way;"
            f" {one['rows'] if one['rows'] is not None else 'unknown'} objects the same"
            f" at {one['complete'] or 'no complete pass yet'}"
        )
        for share in one["shares"]:
            what = f"{share['rows']} rows, {share['pending']} pending" if share["began"] else "not walked yet"
            now = f"  {share['holder']} is at it" if share["holder"] else ""
            out.print(
                f"  {share['after'] or '(the beginning)'} .. {share['upto'] or '(the end)'}: {what}{now}"
            )


def draw_findings(out: "Console", findings: "Sequence[Finding]") -> None:
    for one in findings:
        out.print(f"{one.level:<7} {one.where:<24} {one.sentence}")


def draw_import(out: "Console", done: Mapping[str, Any], certificate: Mapping[str, Any] | None) -> None:
    kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in done["kinds"].items())
    out.print(f"{kinds or 'no files'} ({done['bytes']} bytes written)")
    for reason in done["reasons"]:
        out.print(f"  {reason}")
    if certificate is None:
        return
    for name, one in certificate.items():
        if name != "same":
            out.print(f"{name:<8} {one['count']} files, {one['bytes']} bytes, sha256 {one['sha256']}")
    out.print("all three are the same" if certificate["same"] else "they DIFFER")
