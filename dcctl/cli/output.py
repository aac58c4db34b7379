"""How results and progress look: results on standard output, progress on standard error.

A result is text through rich, plain when piped, or one JSON document (``-o json``). Progress is drawn
from journal events: a live picture of what runs on a terminal, one plain line per ended step elsewhere.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from dcctl.cli.session import Session
    from dcctl.domain.event import Event
    from dcctl.domain.step import Wait

PIPED_WIDTH = 200
"""Columns when nobody looks: wide enough that no table cell is folded or cut."""

SAY_EVERY_S = 10.0
"""Where nobody sees the picture, what is waited for is said so often."""

_ENDED = {"done": ("done", "green"), "failed": ("failed", "red")}


def emit(session: "Session", document: Mapping[str, Any], text: "Callable[[Console], None]") -> None:
    """Print a result: ``document`` as one JSON document with ``-o json``, else what ``text`` draws."""
    if session.json:
        json.dump(document, sys.stdout, indent=2, default=_json_value)
        print(flush=True)
    else:
        text(console(sys.stdout))
        sys.stdout.flush()


def console(stream: TextIO) -> "Console":
    """A console on ``stream`` that prints text as it is given: no markup, no guessed colours."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            """Rich would end the process with 1, which means a bug here. A result that nobody reads
            ends the command quietly; progress that nobody reads must not end a run."""
            self.quiet = True
            if stream is sys.stdout:
                raise BrokenPipeError

    terminal = stream.isatty()
    return Plain(
        file=stream,
        width=None if terminal else PIPED_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not terminal,
    )


class Hanging:
    """A sentence of whatever length behind its ``label``: on a terminal what is folded stands under its
    beginning; where nobody looks it is one line, for grep."""

    def __init__(self, label: "str | Text", sentence: str) -> None:
        self._label = label
        self._sentence = sentence

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[RenderableType]":
        from rich.table import Table
        from rich.text import Text

        label = self._label if isinstance(self._label, Text) else Text(self._label)
        if options.no_wrap:
            yield Text.assemble(label, " ", self._sentence)
            return
        grid = Table.grid(padding=(0, 1))
        grid.add_row(label, Text(self._sentence))
        yield grid


def span(seconds: float) -> str:
    """A time for people, in its two largest units: ``12 s``, ``3 min 20 s``, ``2 h 5 min``, ``4 d 1 h``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((number for number, (amount, _unit) in enumerate(units) if amount), len(units) - 1)
    return " ".join(f"{amount} {unit}" for amount, unit in units[first : first + 2] if amount) or "0 s"


def _json_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


class Progress:
    """Shows what runs; ``seen=progress`` gives it the events of ``dcctl.shell.perform``, and
    ``waits=progress.waits`` what is waited for.

        with Progress("provision") as progress:
            perform(work, clock=clock, journal=journal, seen=progress, waits=progress.waits)

    ``title`` is the phase whose time is printed at the end. Safe to call from several threads.
    """

    def __init__(
        self,
        title: str = "",
        *,
        stream: TextIO | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._title = title
        self._console = console(stream or sys.stderr)
        self._live: Live | None = None
        self._running: dict[tuple[str, str, str], float] = {}
        self._waiting: dict[tuple[str, str, str], tuple[float, str]] = {}
        """What was said last of a wait: its limit, and what it saw."""
        self._said: dict[tuple[str, str, str], float] = {}
        self._guard = threading.Lock()
        self._began = self._monotonic()

    def __enter__(self) -> Self:
        self._began = self._monotonic()
        if self._console.is_interactive:
            from rich.live import Live

            self._live = Live(
                console=self._console,
                get_renderable=self._picture,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._title:
            self._ended(self._title, self._began, failed=kind is not None)

    def __call__(self, event: "Event") -> None:
        """Show one journal event; types that are not of steps and waits are passed over."""
        what, _dot, how = event.type.partition(".")
        if what not in {"step", "wait"}:
            return
        name, target = str(event.fields.get(what, "")), str(event.fields.get("target", ""))
        with self._guard:
            if how == "started":
                self._running[what, name, target] = self._monotonic()
                return
            for each in (self._running, self._waiting, self._said):
                each.pop((what, name, target), None)
        if how in _ENDED:
            word, style = _ENDED[how]
            saw = str(event.fields.get("saw", ""))
            self._line(
                float(event.fields.get("took_s", 0)), word, target, name + (f": {saw}" if saw else ""), style
            )

    def waits(self, wait: "Wait", saw: str) -> None:
        """What ``wait`` saw that was not enough, and how long it goes on: in the picture, or a line."""
        key, now = ("wait", wait.name, wait.target), self._monotonic()
        with self._guard:
            if key not in self._running:
                return
            self._waiting[key] = (wait.limit_s, saw)
            began = self._running[key]
            if self._live is not None or now - self._said.get(key, began) < SAY_EVERY_S:
                return
            self._said[key] = now
        text = wait.name + _still(now - began, wait.limit_s, saw)
        self._line(now - began, "waits", wait.target, text, "yellow")

    def say(self, text: str) -> None:
        """A line of its own between the others."""
        self._print(text)

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """A part whose own time is printed when it ends."""
        began = self._monotonic()
        self.say(f"{title} …")
        try:
            yield
        except BaseException:
            self._ended(title, began, failed=True)
            raise
        self._ended(title, began, failed=False)

    def _ended(self, title: str, began: float, *, failed: bool) -> None:
        from rich.text import Text

        took = f"{self._monotonic() - began:.1f} s"
        words = f"{title}: failed after {took}" if failed else f"{title}: done in {took}"
        self._print(Text(words, style="bold red" if failed else "bold"))

    def _line(self, took_s: float, word: str, target: str, text: str, style: str) -> None:
        from rich.text import Text

        label = Text(f"{took_s:7.1f} s  ")
        label.append(f"{word:<6}", style=style)
        label.append(f"  {target:<14} ")
        self._print(Hanging(label, text))

    def _print(self, line: "RenderableType") -> None:
        """Above the picture, which is brought up to date first: it must not show what has ended."""
        if self._live is not None:
            self._live.refresh()
        self._console.print(line)

    def _picture(self) -> "Table":
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        now = self._monotonic()
        with self._guard:
            running, waiting = list(self._running.items()), dict(self._waiting)
        picture = Table.grid(padding=(0, 2))
        for key, began in running:
            _what, name, target = key
            text = name + (_still(now - began, *waiting[key]) if key in waiting else "")
            picture.add_row(f"{now - began:7.1f} s", Spinner("dots"), f"{target:<14}", Text(text))
        return picture


def _still(took_s: float, limit_s: float, saw: str) -> str:
    return f", at most {max(0.0, limit_s - took_s):.0f} s more" + (f": {saw}" if saw else "")
