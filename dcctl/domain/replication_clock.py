"""What is known of a cluster's clock from the ``Date`` of its answers. Pure: local times are values.

Local times are seconds of a clock that nobody sets: else setting it would look like the cluster's being set.
"""

import email.utils
from collections import deque

from dcctl.domain.replication import TICKS_PER_S, Stamp

CLOCK_MEMORY_S = 60.0


class ClusterClock:
    """A lower bound of it: an answer is read after it was sent, and Date is cut to seconds.

    The highest bound of many answers comes close. It holds as long as the clock is not set back, and that
    shows: the clock was at most a second past Date after the question was asked.
    """

    def __init__(self) -> None:
        self._ahead: deque[tuple[float, float]] = deque()
        self._date: tuple[str, float] = ("", 0.0)
        self._heard_s = float("-inf")

    def saw(self, date: str | None, asked_s: float, heard_s: float) -> None:
        """The Date of an answer that was asked for and read at these local times."""
        if date is None:
            return
        if date != self._date[0]:  # as many answers in a second as there are, one to read
            parts = email.utils.parsedate_tz(date) or (1970, 1, 1, 0, 0, 0, 0, 1, 0, 0)
            self._date = (date, email.utils.mktime_tz(parts))
        self._heard_s = heard_s
        at_least_s, at_most_s = self._date[1] - heard_s, self._date[1] + 1 - asked_s
        if self._ahead and at_most_s < self._ahead[0][1]:
            self._ahead.clear()  # it was set back
        while self._ahead and self._ahead[-1][1] <= at_least_s:
            self._ahead.pop()
        self._ahead.append((heard_s, at_least_s))
        while self._ahead[0][0] < heard_s - CLOCK_MEMORY_S and len(self._ahead) > 1:
            self._ahead.popleft()

    def now(self, local_s: float) -> Stamp:
        """The bound. Before the first answer nothing is known."""
        return Stamp(round((local_s + self._ahead[0][1]) * TICKS_PER_S)) if self._ahead else Stamp(0)

    def silent_s(self, local_s: float) -> float:
        """Seconds since the last answer: for so long a clock may have been set back unseen."""
        return local_s - self._heard_s
