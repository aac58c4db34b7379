"""What every ``ports.SharedWork`` keeps. A subclass gives ``session`` and ``end``."""

from dcctl.domain.replication import Stamp
from dcctl.domain.replication_share import Share, Worked
from dcctl.ports import SharedWork


def worked(by: str, began: int = 1) -> Worked:
    return Worked(Stamp(began), Stamp(began + 1), rows=5, pending=1, undecided=0, by=by)


class SharedWorkContract:
    """``session(who)`` begins a session on one and the same ensemble; ``end(work)`` ends it."""

    def session(self, who: str) -> SharedWork:
        raise NotImplementedError

    def end(self, work: SharedWork) -> None:
        raise NotImplementedError

    def test_workers_know_each_other_while_their_sessions_live(self) -> None:
        east, west = self.session("east"), self.session("west")
        assert east.observe_workers() == ("east",)
        assert west.observe_workers() == ("east", "west")
        self.end(west)
        assert east.observe_workers() == ("east",)

    def test_a_share_is_taken_by_one_until_it_is_given_back(self) -> None:
        east, west = self.session("east"), self.session("west")
        (seen,) = east.observe_work("docs").shares
        assert (seen.worked, seen.holder) == (None, "")
        taken = east.take(seen.share)
        assert taken is not None
        assert west.take(seen.share) is None
        assert west.observe_work("docs").shares[0].holder == "east"
        east.give_back(taken, worked("east"))
        again = west.take(seen.share)
        assert again is not None
        assert again.worked == worked("east")

    def test_the_end_of_a_session_frees_its_shares_and_a_late_word_does_not_count(self) -> None:
        east, west = self.session("east"), self.session("west")
        share = Share("docs")
        sleeping = east.take(share)
        assert sleeping is not None
        self.end(east)
        mine = west.take(share)
        assert mine is not None
        west.give_back(mine, worked("west", 7))
        awake = self.session("east")
        awake.give_back(sleeping, worked("east", 3))
        assert west.observe_work("docs").shares[0].worked == worked("west", 7)

    def test_who_gives_back_late_does_not_free_what_another_took(self) -> None:
        east, west = self.session("east"), self.session("west")
        share = Share("docs")
        sleeping = east.take(share)
        assert sleeping is not None
        self.end(east)
        assert west.take(share) is not None
        self.session("east").give_back(sleeping, None)
        assert self.session("third").take(share) is None

    def test_of_two_divisions_at_once_one_stands(self) -> None:
        east, west = self.session("east"), self.session("west")
        assert east.take(Share("docs")) is not None
        first, second = east.observe_work("docs"), west.observe_work("docs")
        assert east.divide(first, "m\u00e9")
        assert not west.divide(second, "k")
        now = west.observe_work("docs")
        assert now.bounds == ("m\u00e9",)
        assert west.divide(now, "a b/c")
        assert [one.share for one in east.observe_work("docs").shares] == [
            Share("docs", "", "a b/c"),
            Share("docs", "a b/c", "m\u00e9"),
            Share("docs", "m\u00e9", None),
        ]
        assert [one.holder for one in east.observe_work("docs").shares] == ["east", "", ""]
