"""What every ``ports.Pauses`` keeps. A subclass gives ``pauses``."""

from datetime import UTC, datetime

from dcctl.domain.replication_pause import IDLE, WORKING, Pause
from dcctl.ports import Pauses

PAUSE = Pause("oncall@here", datetime(2026, 11, 22, tzinfo=UTC), "why")


class PausesContract:
    """``pauses()`` is a new one, on a place where nobody has paused anything."""

    def pauses(self) -> Pauses:
        raise NotImplementedError

    def test_a_pause_stands_until_somebody_resumes(self) -> None:
        one = self.pauses()
        assert one.observe_pause() is None
        for _ in range(2):
            one.change_pause(PAUSE)
            assert one.observe_pause() == PAUSE
        for _ in range(2):
            one.change_pause(None)
            assert one.observe_pause() is None

    def test_a_follower_is_seen_until_it_leaves(self) -> None:
        one = self.pauses()
        assert one.observe_followers() == {}
        for state in (WORKING, IDLE, IDLE):
            one.report(state)
            assert list(one.observe_followers().values()) == [state]
        for _ in range(2):
            one.report(None)
            assert one.observe_followers() == {}
