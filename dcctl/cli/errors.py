"""How an error looks to the person who typed the command: sentences, never a traceback."""

import json
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dcctl.domain.rules import rule_of
from dcctl.errors import ConfigurationError, DcctlError, Refused, StepFailed, UndoIncomplete, UsageError


def say(error: DcctlError, *, as_json: bool = False, dcctl: str = "dcctl") -> int:
    """Print ``error`` on standard error and return its exit code. ``dcctl``: how the next command begins, so
    that it is about the same environment when it is typed as shown, unless that may be what is wrong."""
    sys.stdout.flush()
    word, _blank, rest = error.next_command.partition(" ")
    if (
        word == "dcctl"
        and not rest.startswith("-e ")
        and not isinstance(error, UsageError | ConfigurationError)
    ):
        error.next_command = f"{dcctl} {rest}"
    print(_as_json(error) if as_json else _as_text(error), file=sys.stderr)
    return error.exit_code


def bug(error: BaseException, *, show: bool) -> DcctlError:
    """What to say about an exception that is not of our tree.

    The traceback goes to a file that only its owner can read, or to standard error with ``show``.
    """
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    text = "".join(traceback.format_exception(error))
    try:
        file = None if show else _keep(text)
    except OSError:
        file = None
    if show:
        print(text, file=sys.stderr, end="")
    return DcctlError(
        "this is a bug in dcctl",
        saw=what,
        next_command=f"report it with {file}"
        if file
        else ""
        if show
        else "DCCTL_DEBUG=1 and the same command again",
    )


def _keep(text: str) -> Path:
    import platformdirs

    folder = platformdirs.user_state_path("dcctl") / "bugs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.txt"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as kept:
        kept.write(text)
    return file


def _as_text(error: DcctlError) -> str:
    where = f" on {error.on}" if error.on else ""
    match error:
        case ConfigurationError():
            count = len(error.problems)
            lines = [f"error: the configuration has {count} problem{'s' if count != 1 else ''}"]
            lines += [f"  {problem}" for problem in error.problems]
        case Refused():
            lines = [f"refused: {error.tried}{where}"]
            lines += [f"  - {_ruled(reason)}" for reason in error.reasons]
        case UndoIncomplete():
            lines = [f"error: {error.tried}{where}; this is left:"]
            lines += [f"  - {left}" for left in error.left]
        case StepFailed():
            lines = [f"error: {error.sentence()}", f"  run {error.run}, step {error.step}"]
        case _:
            lines = [f"error: {error.sentence()}"]
    lines += [f"  {note}" for note in getattr(error, "__notes__", [])]
    if error.next_command:
        lines.append(f"next: {error.next_command}")
    return "\n".join(lines)


def _ruled(reason: str) -> str:
    """With the name of its rule, which is what ``--override`` speaks of."""
    rule = rule_of(reason)
    return f"{reason}  [{rule}]" if rule else reason


def _as_json(error: DcctlError) -> str:
    fields: dict[str, Any] = {key: value for key, value in vars(error).items() if not key.startswith("_")}
    if isinstance(error, ConfigurationError):
        fields["problems"] = [
            {"file": one.file, "line": one.line, "column": one.column, "message": one.message}
            for one in error.problems
        ]
    if isinstance(error, Refused):
        fields["rules"] = [rule_of(reason) for reason in error.reasons]
    if notes := getattr(error, "__notes__", []):
        fields["notes"] = list(notes)
    return json.dumps({"error": type(error).__name__, "exit_code": error.exit_code, **fields}, default=str)
