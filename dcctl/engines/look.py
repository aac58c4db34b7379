"""The looks of one run: what a step needs is judged by the look that was just taken, or by a new one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from dcctl.errors import Unreachable

T = TypeVar("T")

FRESH_S = 10.0
"""A step that begins longer after a look (somebody paused the run, the journal was slow) is judged by a new
one. Between two sites of which one is dark a look takes seconds: one that was just taken is not taken twice.
"""


@dataclass
class Looks(Generic[T]):
    """``take`` takes a look; ``now`` is the clock by which it ages.

    A look serves one need: what comes after has an effect behind it that the look has not seen. It serves
    several that are ``lasting``: no step between them changes what they look at.
    """

    take: Callable[[], T]
    now: Callable[[], datetime]
    _kept: list[tuple[T, datetime]] = field(default_factory=list)

    def look(self) -> T:
        """A new one, which the need that comes next may be judged by."""
        self._kept[:] = []
        seen = self.take()
        self._kept[:] = [(seen, self.now())]
        return seen

    def needs(
        self, why: Callable[[T], Sequence[str]], *, lasting: bool = False
    ) -> Callable[[], Sequence[str]]:
        """What ``why`` says against a step, for ``domain.step.Step.needs``; what does not answer is against
        it too."""

        def needed() -> Sequence[str]:
            try:
                seen, at = self._last()
                reasons = tuple(why(seen))
            except Unreachable as error:
                return (error.sentence(),)
            if lasting and not reasons:
                self._kept[:] = [(seen, at)]
            return reasons

        return needed

    def _last(self) -> tuple[T, datetime]:
        for seen, at in self._kept:
            self._kept[:] = []
            if 0 <= (self.now() - at).total_seconds() <= FRESH_S:
                return seen, at
        return self.take(), self.now()
