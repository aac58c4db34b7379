"""The error tree and its exit codes (DESIGN: "Errors and exit codes"; docs/reference/errors.md).

    DcctlError                 1   a bug, when nothing below fits
      UsageError               2   the command line is wrong
      ConfigurationError       3   dcctl.yaml is wrong; carries every problem with file, line, column
      Unreachable              4   something that the command needs could not be used
        CredentialsRefused     4     it answered, and refused who we are
        TimedOut               4     it did not answer within the limit
        Busy                   4     it answered, and asks for patience
        Rejected               4     it answered, and refused what we asked
          NotFound             4       because the object is not there
      Refused                  5   dcctl itself declines, with every reason
        Overtaken              5     and the run that was to go on is over: what it was for is gone
      StepFailed               6   a step failed midway; carries the run and the command that resumes it
      LeadershipLost           6   what ran only while leading was ended, because the lease was lost
      Deviated                 7   a drill ran and the system did not hold its tolerance
      DriftFound               8   what is deployed is not what is configured
      UndoIncomplete           9   an undo left something; carries what, and how to remove it
      Interrupted            130   Ctrl-C or SIGTERM
        Aborted              130     and the run is over: a person ended it for good (dcctl run abort)

Codes 2 to 5 promise that nothing was changed. Every error says what was tried, on what, what was
seen, and the next command to type. This module imports nothing of ours.
"""

from dataclasses import dataclass
from typing import ClassVar


class DcctlError(Exception):
    """What was tried, on what, what was seen, and what to type next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, tried: str, *, on: str = "", saw: str = "", next_command: str = "") -> None:
        self.tried = tried
        self.on = on
        self.saw = saw
        self.next_command = next_command
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """The error on one line, without the next command."""
        text = self.tried
        if self.on:
            text += f" on {self.on}"
        if self.saw:
            text += f": {self.saw}"
        return text


class UsageError(DcctlError):
    """The command line is wrong; nothing was changed."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file. Lines and columns count from 1; 0 means unknown."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.message}"


class ConfigurationError(DcctlError):
    """The configuration is wrong; carries all problems at once. Nothing was changed."""

    exit_code = 3

    def __init__(self, problems: tuple[Problem, ...], *, next_command: str = "") -> None:
        self.problems = problems
        super().__init__(
            "read the configuration",
            saw="; ".join(map(str, problems)),
            next_command=next_command,
        )


class Unreachable(DcctlError):
    """Something that the command needs could not be reached or used."""

    exit_code = 4


class CredentialsRefused(Unreachable):
    """The other side answered and refused our credentials."""


class TimedOut(Unreachable):
    """No answer within the call's time limit; whether it took effect is unknown."""


class Busy(Unreachable):
    """It asks for patience (HTTP 429, 498, 503); ``retry_after_s`` is its own figure, or 0."""

    def __init__(self, tried: str, *, on: str, saw: str, retry_after_s: float = 0.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(tried, on=on, saw=saw)


class Rejected(Unreachable):
    """The other side answered and would not do what was asked."""


class NotFound(Rejected):
    """The object that was named does not exist there."""


class Refused(DcctlError):
    """dcctl declines, for every reason given. Nothing was changed."""

    exit_code = 5

    def __init__(self, tried: str, *, reasons: tuple[str, ...], on: str = "", next_command: str = "") -> None:
        self.reasons = reasons
        super().__init__(tried, on=on, saw="; ".join(reasons), next_command=next_command)


class Overtaken(Refused):
    """What a run was begun for is not there any more. The run is over: nobody goes on with it."""


class StepFailed(DcctlError):
    """A step of a run failed midway. What was done before it stays, journalled, and can be resumed."""

    exit_code = 6

    def __init__(
        self, tried: str, *, run: str, step: str, on: str = "", saw: str = "", next_command: str = ""
    ) -> None:
        self.run = run
        self.step = step
        super().__init__(tried, on=on, saw=saw, next_command=next_command)


class LeadershipLost(DcctlError):
    """The lease of a role could not be kept; what ran under it was ended before the lease was over."""

    exit_code = 6


class Deviated(DcctlError):
    """A drill ran to its end and the system did not hold a tolerance."""

    exit_code = 7


class DriftFound(DcctlError):
    """What runs is not what is configured."""

    exit_code = 8


class UndoIncomplete(DcctlError):
    """An undo did not finish; ``left`` names what remains."""

    exit_code = 9

    def __init__(self, tried: str, *, left: tuple[str, ...], on: str = "", next_command: str = "") -> None:
        self.left = left
        super().__init__(tried, on=on, saw="left: " + "; ".join(left), next_command=next_command)


class Interrupted(DcctlError):
    """Ctrl-C or SIGTERM; what had been started was finished or undone."""

    exit_code = 130


class Aborted(Interrupted):
    """A person ended ``run`` for good, from wherever; ``saw`` says who, and why."""

    def __init__(self, tried: str, *, run: str, on: str = "", saw: str = "") -> None:
        self.run = run
        super().__init__(tried, on=on, saw=saw)
