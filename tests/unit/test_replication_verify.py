"""What ``verify`` calls each difference, and that ``repair`` replays these and nothing else."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from test_replication_pass import World

from dcctl.domain.document import Head
from dcctl.domain.replication import Row, Rules, Side, Stamp
from dcctl.domain.replication_merge import Witness
from dcctl.domain.replication_pass import Tally
from dcctl.engines import replication_run
from dcctl.engines.replication_manners import Time
from dcctl.engines.replication_run import compare, mend, run_to_end
from dcctl.engines.replication_verify import Verdict, classify
from dcctl.errors import Interrupted, StepFailed, Unreachable
from dcctl.ports import DocumentStore
from dcctl.testing.documents import MemoryStore, Stored

NOW = Stamp(1_800_000_000 * 100_000)
RULES = Rules(now_a=NOW, now_b=NOW.plus(5), settled_s=10)


def row(hash: str, ago_s: float) -> Row:
    return Row("o", hash, NOW.plus(-ago_s))


@pytest.mark.parametrize(
    ("a", "b", "kind", "side"),
    [
        (row("x", 5), None, "pending", None),
        (row("x", -40), row("y", 900), "pending", None),
        (row("x", 100), None, "missing", Side.B),
        (row("x", 100), row("y", 100), "tie", None),
        (row("x", 100), row("y", 200), "stale", Side.B),
        (row("x", 100), row("x", 200), "stale", Side.B),
    ],
)
def test_every_row_of_the_table(a: Row, b: Row | None, kind: str, side: Side | None) -> None:
    assert classify(Witness(None, a, b), RULES)[:2] == (kind, side)
    other = side.other if side is not None else None
    assert classify(Witness(None, b, a), RULES)[:2] == (kind, other)


class Compared:
    """A world at rest, and both commands over it."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.a.tells_bodies = world.b.tells_bodies = True
        self.clock = Time(now=world.time, monotonic=world.time, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.world.time.now_s += seconds

    @contextlib.asynccontextmanager
    async def stores(self) -> AsyncIterator[Mapping[Side, DocumentStore]]:
        yield {Side.A: self.world.a, Side.B: self.world.b}

    def put(self, *names: str) -> None:
        for name in names:
            self.world.a.client_put("docs", name, b"1", X_Object_Meta_K="v")
        self.world.settle()

    def verify(self, level: str) -> Verdict:
        (verdict,) = compare(self.stores, ["docs"], self.world.options, level=level, clock=self.clock)
        return verdict

    def repair(self, level: str) -> Tally:
        (tally,) = mend(
            self.stores, self.world.base, ["docs"], self.world.options, level=level, clock=self.clock
        )
        return tally

    def at_west(self, name: str, change: Callable[[Stored], Stored]) -> None:
        """What nobody did through a request."""
        stored = self.world.b.containers["docs"]
        stored[name] = change(stored[name])

    def other_headers(self, name: str) -> None:
        self.at_west(name, lambda one: replace(one, headers={**one.headers, "X-Object-Meta-K": "w"}))

    def expired(self, one: Stored) -> Stored:
        return replace(one, headers={**one.headers, "X-Delete-At": str(int(self.world.time.now_s) - 5)})


@pytest.fixture
def compared(tmp_path: Path) -> Iterator[Compared]:
    world = World(tmp_path)
    yield Compared(world)
    world.base.close()


def seen(verdict: Verdict) -> dict[str, tuple[str, Side | None]]:
    return {one.name: (one.kind, one.side) for one in verdict.differences}


def test_listings_tell_what_lacks_what_is_behind_and_what_is_only_hidden(compared: Compared) -> None:
    world = compared.world
    compared.put("behind", "expired", "hidden", "same", "tied")
    world.a.client_put("docs", "lacks", b"1")
    world.b.client_put("docs", "behind", b"2")
    world.b.hidden.add(("docs", "hidden"))
    compared.at_west("tied", lambda one: replace(one, content=b"other"))
    for stored in (world.a.containers["docs"], world.b.containers["docs"]):
        stored["expired"] = compared.expired(stored["expired"])
    world.b.hidden.add(("docs", "expired"))
    world.time.now_s += 60
    world.a.client_put("docs", "young", b"1")
    verdict = compared.verify("listing")
    assert seen(verdict) == {
        "behind": ("stale", Side.A),
        "expired": ("expired", Side.B),
        "hidden": ("orphan", Side.B),
        "lacks": ("missing", Side.B),
        "tied": ("tie", None),
        "young": ("pending", None),
    }
    assert (verdict.rows, verdict.same) == (1, False)


def test_what_is_young_or_has_expired_is_no_difference(compared: Compared) -> None:
    compared.put("o")
    for stored in (compared.world.a.containers["docs"], compared.world.b.containers["docs"]):
        stored["o"] = compared.expired(stored["o"])
    compared.world.a.client_put("docs", "young", b"1")
    verdict = compared.verify("metadata")
    assert (verdict.kinds, verdict.same) == ({"pending": 1, "expired": 1}, True)


@pytest.mark.parametrize("level", ["metadata", "full"])
def test_headers_tell_what_listings_do_not_and_are_made_the_same(compared: Compared, level: str) -> None:
    compared.put("lost", "other", "same")
    compared.other_headers("other")
    compared.at_west("lost", compared.expired)
    compared.world.time.now_s += 60
    assert compared.verify("listing").same
    verdict = compared.verify(level)
    assert seen(verdict) == {"lost": ("unreadable", Side.B), "other": ("metadata", None)}
    assert "x-object-meta-k" in next(one.saw for one in verdict.differences if one.name == "other")
    assert compared.repair(level).kinds == {"mended": 2}
    assert compared.verify("full").same
    assert compared.world.b.containers["docs"]["lost"].headers["X-Object-Meta-K"] == "v"


def test_a_row_that_only_looks_different_is_the_same(compared: Compared) -> None:
    """A replica of a static large object is listed with another size, and reads the same."""
    compared.put("large", "other", "small")
    compared.other_headers("other")
    real = compared.world.b.list_page

    async def list_page(container: str, **how: object) -> bytes:
        rows = json.loads(await real(container, **how))  # type: ignore[arg-type]
        return json.dumps([{**one, "bytes": 7} if one["name"] != "small" else one for one in rows]).encode()

    compared.world.b.list_page = list_page  # type: ignore[method-assign]
    compared.world.time.now_s += 60
    verdict = compared.verify("listing")
    assert (verdict.kinds, verdict.rows, verdict.same) == ({}, 3, True)
    assert seen(compared.verify("metadata")) == {"other": ("metadata", None)}


def test_what_answers_and_is_not_listed_is_written_once_more_and_never_over_something_newer(
    compared: Compared,
) -> None:
    world = compared.world
    compared.put("newer", "o")
    before = world.b.containers["docs"]["o"].body
    world.b.client_put("docs", "newer", b"2")
    world.b.hidden |= {("docs", "newer"), ("docs", "o")}
    world.time.now_s += 60
    assert seen(compared.verify("metadata")) == {"newer": ("orphan", Side.B), "o": ("orphan", Side.B)}
    tally = compared.repair("metadata")
    assert tally.count("mended") == 1
    assert world.b.containers["docs"]["o"].body == before.next
    assert world.b.containers["docs"]["newer"].content == b"2"
    world.b.hidden.clear()
    world.settle()
    world.assert_same()
    assert world.a.containers["docs"]["newer"].content == b"2"


def test_every_byte_is_read_where_it_is_asked_for(compared: Compared) -> None:
    compared.put("o", "p")
    compared.at_west("o", lambda one: replace(one, content=b"?"))
    compared.world.b.hash_kept = hashlib.md5(b"1", usedforsecurity=False).hexdigest()
    assert compared.verify("metadata").same
    verdict = compared.verify("full")
    assert seen(verdict) == {"o": ("damaged", Side.B)}
    assert verdict.bytes == 4
    assert compared.repair("full").kinds == {"mended": 1}
    assert compared.world.b.containers["docs"]["o"].content == b"1"


def test_only_the_difference_is_replayed_whatever_the_base_remembers(compared: Compared) -> None:
    world = compared.world
    compared.put(*(f"o{number}" for number in range(20)))
    del world.b.containers["docs"]["o7"]  # no tombstone: a disk was replaced
    compared.at_west("o3", lambda one: replace(one, content=b"older", body=one.body.plus(-5), meta=Stamp(0)))
    world.time.now_s += 60
    world.a.calls.clear()
    world.b.calls.clear()
    assert compared.repair("listing").kinds == {"copied": 1, "resolved": 1}
    assert (world.a.calls.count("put"), world.b.calls.count("put")) == (0, 3)  # and the loser is kept
    assert len([call for call in (*world.a.calls, *world.b.calls) if call != "list"]) < 10
    world.assert_same()
    assert world.b.containers["docs"]["o3"].content == b"1"


def test_what_could_not_be_mended_is_told_and_the_others_are(compared: Compared) -> None:
    compared.put("a", "b")
    for name in "ab":
        compared.other_headers(name)
    compared.world.time.now_s += 60
    real: Callable[..., object] = MemoryStore.head

    async def head(container: str, name: str) -> Head | None:
        head.asked += name == "a"  # type: ignore[attr-defined]
        if name == "a" and head.asked > 1:  # type: ignore[attr-defined]
            raise Unreachable("HEAD", on="east:docs/a", saw="HTTP 503")
        return await real(compared.world.a, container, name)  # type: ignore[misc,no-any-return]

    head.asked = 0  # type: ignore[attr-defined]
    compared.world.a.head = head  # type: ignore[method-assign]
    tally = compared.repair("metadata")
    assert (tally.kinds, tally.pending) == ({"failed": 1, "mended": 1}, 1)
    assert "east:docs/a: HTTP 503" in tally.reasons[0]


def test_what_a_verdict_has_no_room_for_is_left_to_the_next_repair(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication_run, "MENDED_AT_ONCE", 2)
    compared.put("a", "b", "c")
    for name in "abc":
        compared.other_headers(name)
    compared.world.time.now_s += 60
    tally = compared.repair("metadata")
    assert (tally.kinds, tally.pending) == ({"mended": 2, "later": 1}, 1)
    assert compared.repair("metadata").kinds == {"mended": 1}
    assert compared.verify("metadata").same


def test_a_cluster_that_goes_away_midway_is_no_refusal(compared: Compared) -> None:
    """Codes 2 to 5 promise that nothing was changed."""
    compared.put("o")
    compared.world.a.client_put("docs", "p", b"1")
    compared.world.time.now_s += 60
    verified: list[str] = []
    real = compared.world.b.list_page

    async def list_page(container: str, **how: object) -> bytes:
        if "p" in compared.world.b.containers["docs"] and not verified:
            verified.append(container)
            raise Unreachable("list", on="west:docs", saw="away")
        return await real(container, **how)  # type: ignore[arg-type]

    compared.world.b.list_page = list_page  # type: ignore[method-assign]
    with pytest.raises(StepFailed, match="west:docs: away"):
        compared.repair("metadata")
    compared.world.b.fail_after = 0
    with pytest.raises(Unreachable):
        compared.repair("metadata")


def test_an_interrupt_is_told_as_one() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="looked at again by the next pass"):
        run_to_end(work())
