"""How an error looks to the person who typed the command: sentences, never a traceback."""

import json
import sys

from dcctl.errors import ConfigurationError, DcctlError, Refused


def say(error: DcctlError, *, as_json: bool = False) -> int:
    """Print ``error`` on standard error and return its exit code."""
    print(_as_json(error) if as_json else _as_text(error), file=sys.stderr)
    return error.exit_code


def _as_text(error: DcctlError) -> str:
    match error:
        case ConfigurationError():
            lines = [f"error: the configuration has {len(error.problems)} problem(s)"]
            lines += [f"  {problem}" for problem in error.problems]
        case Refused():
            lines = [f"refused: {error.tried}" + (f" on {error.on}" if error.on else "")]
            lines += [f"  - {reason}" for reason in error.reasons]
        case _:
            lines = [f"error: {error.sentence()}"]
    lines += [f"  {note}" for note in getattr(error, "__notes__", [])]
    if error.next_command:
        lines.append(f"next: {error.next_command}")
    return "\n".join(lines)


def _as_json(error: DcctlError) -> str:
    fields = {key: value for key, value in vars(error).items() if not key.startswith("_")}
    if isinstance(error, ConfigurationError):
        fields["problems"] = [str(problem) for problem in error.problems]
    return json.dumps({"error": type(error).__name__, "exit_code": error.exit_code, **fields})
