"""Each row of the table in ``decide_replication``, both ways round, and of ``resolve`` and the deletes."""

from dataclasses import dataclass

import pytest

from dcctl.domain.replication import (
    Copy,
    Decision,
    Forget,
    Later,
    Offer,
    Refresh,
    Resolve,
    Row,
    Rules,
    Same,
    Side,
    Stamp,
    Undecided,
    Version,
    decide_replication,
    delete_stamp,
    resolve,
)
from dcctl.domain.replication_pass import DeleteCap, decide_deletes

NOW = Stamp(1_800_000_000 * 100_000)
DAY = 86400.0
RULES = Rules(now_a=NOW, now_b=NOW, gap_s=60.0)


def row(hash: str, ago_s: float) -> Row:
    return Row("name", hash, NOW.plus(-ago_s), 1)


X, X_POSTED, Y, Z = row("x", 1000), row("x", 500), row("y", 400), row("z", 300)


@dataclass(frozen=True)
class Case:
    row: int
    base: Row | None
    a: Row | None
    b: Row | None
    decision: Decision
    rules: Rules = RULES


GAP = Rules(now_a=NOW, now_b=NOW, gap_s=8 * DAY)
CASES = [
    Case(1, None, Y, Y, Same()),
    Case(1, X, Y, Y, Same()),
    Case(2, X, None, None, Forget()),
    Case(3, None, Y, None, Copy(Side.A, ask_first=True)),
    Case(4, X, X, None, Offer(Side.A)),
    Case(5, X, X_POSTED, None, Offer(Side.A)),
    Case(6, X, Y, None, Copy(Side.A, ask_first=True)),
    Case(7, X, Y, X, Copy(Side.A, ask_first=False)),
    Case(7, X, row("y", 3), X, Copy(Side.A, ask_first=True)),
    Case(7, X, row("y", 2000), X, Resolve()),
    Case(8, X, X_POSTED, X, Refresh(Side.A)),
    Case(9, X, X_POSTED, Y, Resolve()),
    Case(10, X, Y, Z, Resolve()),
    Case(11, None, Y, Z, Resolve()),
    Case(11, None, X, X_POSTED, Resolve()),
    Case(11, None, row("y", 400), row("z", 400), Resolve()),
    Case(12, X, X, None, Undecided(Side.A, "gap"), GAP),
    Case(12, None, row("y", 9 * DAY), None, Undecided(Side.A, "gap"), GAP),
    Case(12, None, Y, None, Copy(Side.A, ask_first=True), GAP),
    Case(12, X, Y, X, Copy(Side.A, ask_first=False), GAP),
    Case(13, X, row("y", -30), X, Later(Side.B, NOW.plus(30))),
    Case(13, None, row("y", -30), None, Later(Side.B, NOW.plus(30))),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"row {case.row}")
def test_every_row_of_the_table(case: Case) -> None:
    got = decide_replication(case.base, case.a, case.b, case.rules)
    assert _without_words(got) == _without_words(case.decision)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"row {case.row}")
def test_every_row_of_the_table_with_the_sides_exchanged(case: Case) -> None:
    got = decide_replication(case.base, case.b, case.a, case.rules)
    assert _without_words(got) == _exchanged(_without_words(case.decision))


def _without_words(decision: Decision) -> Decision:
    return Undecided(decision.present, "") if isinstance(decision, Undecided) else decision


def _exchanged(decision: Decision) -> Decision:
    match decision:
        case Copy(source, ask_first):
            return Copy(source.other, ask_first)
        case Refresh(source):
            return Refresh(source.other)
        case Offer(present):
            return Offer(present.other)
        case Undecided(present, reason):
            return Undecided(present.other, reason)
        case Later(side, until):
            return Later(side.other, until)
        case _:
            return decision


def version(side: Side, hash: str, body: int, listed: int | None = None) -> Version:
    return Version(side, hash, Stamp(body), Stamp(listed if listed is not None else body))


def test_the_later_body_wins_and_the_loser_is_kept() -> None:
    got = resolve(version(Side.A, "x", 10), version(Side.B, "y", 20))
    assert (got.body_to, got.body_stamp, got.post_to, got.keep) == (Side.A, Stamp(20), None, Side.A)


def test_a_post_does_not_carry_its_old_body_over_a_newer_one() -> None:
    """v1 at 10 with a POST at 30 against v2 at 20: v2's body under 20, the POST's metadata under 30."""
    got = resolve(version(Side.A, "v1", 10, 30), version(Side.B, "v2", 20))
    assert (got.body_to, got.body_stamp) == (Side.A, Stamp(20))
    assert (got.post_to, got.post_stamp) == (Side.B, Stamp(30))


def test_a_tie_goes_to_the_greater_hash_under_the_next_offset() -> None:
    got = resolve(version(Side.A, "x", 10), version(Side.B, "y", 10))
    assert (got.body_to, got.body_stamp) == (Side.A, Stamp(10, 1))


def test_the_same_bytes_under_two_stamps_take_the_later_and_are_no_conflict() -> None:
    got = resolve(version(Side.A, "x", 10), version(Side.B, "x", 20))
    assert (got.body_to, got.body_stamp, got.keep) == (Side.A, Stamp(20), None)


def test_a_delete_is_stamped_at_the_last_time_the_other_side_had_it() -> None:
    seen = NOW.plus(-50)
    assert delete_stamp(NOW.plus(-100), last_seen=seen, now=NOW, rules=RULES) == seen


def test_a_delete_is_at_least_just_after_the_version_it_removes() -> None:
    version = NOW.plus(-100)
    assert delete_stamp(version, last_seen=None, now=NOW, rules=RULES) == version.next
    assert delete_stamp(version, last_seen=NOW.plus(-200), now=NOW, rules=RULES) == version.next


def test_a_delete_is_never_stamped_where_swift_keeps_no_tombstone() -> None:
    got = delete_stamp(NOW.plus(-30 * DAY), last_seen=None, now=NOW, rules=RULES)
    assert got == NOW.plus(-6 * DAY)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"known_rows": None}, "no complete pass"),
        ({"base_rebuilt": True}, "damaged"),
        ({"empty_sides": ("west",)}, "west lists nothing"),
        ({"doomed": 51}, "cap of 50"),
        ({}, None),
    ],
)
def test_when_deletes_are_held(seen: dict[str, object], words: str | None) -> None:
    facts = {"doomed": 3, "known_rows": 100, "empty_sides": (), "base_rebuilt": False, **seen}
    got = decide_deletes(cap=DeleteCap(), **facts)  # type: ignore[arg-type]
    assert (words is None and got == ()) or (words is not None and words in got[0])


def test_stamps_read_and_write_what_swift_writes() -> None:
    assert Stamp.parse("1795280214.74262") == Stamp(179528021474262)
    assert Stamp.parse("1795280214.74262_0000000000000001") == Stamp(179528021474262, 1)
    assert Stamp(179528021474262, 1).text == "1795280214.74262_0000000000000001"
    assert Stamp.listed("2026-11-21T18:49:05.869960").text == "1795286945.86996"
    assert Stamp.listed("2026-11-21T18:49:05").text == "1795286945.00000"
