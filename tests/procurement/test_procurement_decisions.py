"""The pure decisions, as tables."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from procurement.domain.auction import ROUNDS, Auction, Finish, StartRound, decide_auction, decide_winner
from procurement.domain.document import latest
from procurement.domain.feed import Position, parse_offset
from procurement.domain.tender import Timetable, decide_check, decide_status
from procurement.domain.token import new_token, token_hash, token_matches

T0 = datetime(2027, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def timetable(status: str, **more: Any) -> Timetable:
    return Timetable(status, T0 + 7 * DAY, T0 + 14 * DAY, **more)


@pytest.mark.parametrize(
    ("tender", "day", "expected"),
    [
        (timetable("draft", bids=2), 99, "draft"),
        (timetable("active.enquiries"), 6, "active.enquiries"),
        (timetable("active.enquiries"), 7, "active.tendering"),
        (timetable("active.tendering"), 13, "active.tendering"),
        (timetable("active.tendering"), 14, "unsuccessful"),
        (timetable("active.tendering", bids=1), 14, "active.qualification"),
        (timetable("active.tendering", bids=1, min_bids=2), 14, "unsuccessful"),
        (timetable("active.tendering", bids=2), 14, "active.auction"),
        (timetable("active.tendering", bids=2, has_auction=False), 14, "active.qualification"),
        (timetable("active.enquiries", bids=2), 99, "active.auction"),
        (timetable("active.enquiries"), 99, "unsuccessful"),
        (timetable("active.auction", bids=2), 99, "active.auction"),
        (timetable("active.qualification"), 99, "active.qualification"),
        (timetable("unsuccessful"), 99, "unsuccessful"),
    ],
)
def test_the_status_is_a_function_of_the_record_and_the_instant(
    tender: Timetable, day: int, expected: str
) -> None:
    assert decide_status(tender, T0 + day * DAY) == expected


@pytest.mark.parametrize("bids", [0, 1, 2])
@pytest.mark.parametrize("status", ["active.enquiries", "active.tendering", "active.auction", "draft"])
def test_nothing_changes_before_the_next_check_and_something_does_at_it(status: str, bids: int) -> None:
    tender = timetable(status, bids=bids)
    check = decide_check(tender)
    assert decide_status(tender, (check or T0 + 99 * DAY) - timedelta(microseconds=1)) == status
    if check is not None:
        assert decide_status(tender, check) != status


@pytest.mark.parametrize(
    ("stage", "late_s", "expected"),
    [
        (0, -1, None),
        (0, 0, (1, False)),
        (0, 120, (1, False)),
        (0, 121, (1, True)),
        (2, 5, (3, False)),
        (2, 4000, (3, True)),
        (ROUNDS, -1, None),
        (ROUNDS, 0, "finish"),
        (ROUNDS, 4000, "finish"),
    ],
)
def test_rounds_start_in_order_and_a_late_one_is_a_missed_one(stage: int, late_s: int, expected: Any) -> None:
    now = T0 + timedelta(seconds=late_s)
    decided = decide_auction(Auction(stage, T0), now, timedelta(minutes=2))
    if expected is None:
        assert decided is None
    elif expected == "finish":
        assert decided == Finish()
    else:
        assert isinstance(decided, StartRound)
        assert (decided.number, decided.missed) == expected
        assert decided.ends_at == now + timedelta(minutes=2)


def bid(id: str, amount: float, at: str = "2027-01-08", status: str = "pending") -> dict[str, Any]:
    return {"id": id, "status": status, "value": {"amount": amount}, "submissionDate": at}


@pytest.mark.parametrize(
    ("bids", "winner"),
    [
        ((), None),
        ((bid("a", 2), bid("b", 1)), "b"),
        ((bid("a", 1, "2027-01-09"), bid("b", 1, "2027-01-08")), "b"),
        ((bid("a", 1, status="draft"), bid("b", 2)), "b"),
        (({"id": "a", "status": "pending", "lotValues": []},), None),
    ],
)
def test_the_cheapest_bid_wins_and_of_equal_ones_the_earliest(
    bids: tuple[dict[str, Any], ...], winner: str | None
) -> None:
    found = decide_winner(bids, None)
    assert (found["id"] if found else None) == winner


def test_the_newest_version_stands_for_a_document_at_its_own_place() -> None:
    versions = [{"id": "a", "v": 1}, {"id": "b", "v": 1}, {"id": "a", "v": 2}]
    assert latest(versions) == [{"id": "b", "v": 1}, {"id": "a", "v": 2}]


def test_offsets_are_read_back_and_nothing_else_is() -> None:
    position = Position(2, 2**63, 17)
    assert parse_offset(str(position)) == position
    for text in (
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "-1.2.3",
        "a.b.c",
        "1.2.3\n",
        "²·1.1",
        f"1.{2**64}.1",
        f"1.1.{2**63}",
    ):
        assert parse_offset(text) is None
    assert Position(1, 9, 1) < Position(1, 10, 0) < Position(2, 0, 0)


def test_a_token_matches_only_its_own_hash() -> None:
    token = new_token()
    assert token_matches(token, token_hash(token))
    assert not token_matches(new_token(), token_hash(token))
