"""Recordings replayed through the simulation's models: real ones, its own, and such as cannot be."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dcctl.testing.simulation import Fault, Schedule, decide_schedule, faults, recording, simulate
from dcctl.testing.simulation.__main__ import BY_NAME
from dcctl.testing.simulation.ensemble import ANY, Ensemble
from dcctl.testing.simulation.moves import Held, Situation, next_changes
from dcctl.testing.simulation.network import DATABASES, Network
from dcctl.testing.simulation.ports import KEYS
from dcctl.testing.simulation.record import KEPT, Keys, Page, parse_answer
from dcctl.testing.simulation.recording import Answer, Header, Key, Line, Recording
from dcctl.testing.simulation.replay import Verdict, main, replay
from dcctl.testing.simulation.scheduler import Scheduler
from dcctl.testing.simulation.session import Asked, Client, Look, SimSession
from dcctl.testing.simulation.world import World

EAST, WEST = DATABASES
RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.jsonl*"))
CUT = Schedule(1, (Fault(20.0, "cut", "east", 40.0),))
MOVED = Schedule(3, (Fault(14.0, "command", "ann", 0.0, ["switchover", "west", None]),))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.partition(".")[0])
def test_what_really_happened_the_models_do_too(path: Path) -> None:
    recorded = recording.read(path)
    verdict = replay(recorded)
    assert verdict.contradictions == ()
    assert verdict.judged, "nothing happened in it"


@pytest.mark.parametrize("seed", range(1, 13))
def test_what_the_models_do_passes(seed: int) -> None:
    recorded = simulate(decide_schedule(seed), record=True).recording
    assert recorded is not None
    assert replay(recorded).contradictions == ()


def test_a_recording_leaves_the_course_of_a_seed_as_it_is() -> None:
    assert simulate(CUT).history.timeline == simulate(CUT, record=True).history.timeline


def test_each_change_of_a_failover_and_of_a_switchover_is_explained() -> None:
    given_up = replay(_recorded(CUT)).judged
    assert given_up["our release of the leader key"] == 1
    assert any(why.startswith("leader: west-db-1") for why in given_up)
    moved = replay(_recorded(MOVED)).judged
    assert moved["failover: east-db-1 is asked for a switchover"] == 1
    assert moved["leader: east-db-1 as primary"] == 1, "its session ends, and the key with it"


@pytest.mark.parametrize("first", ["leader", f"members/{EAST}"])
def test_of_a_session_that_ended_any_key_may_be_seen_gone_first(first: str) -> None:
    """A look reads one after the other, and takes what it saw for what was there."""
    recorded = _recorded(MOVED)
    ends = [
        each
        for each in recorded.keys
        if each.value is None and each.s > 14.0 and each.key in ("leader", f"members/{EAST}")
    ][:2]
    assert len({each.key for each in ends}) == 2
    assert len({each.zxid for each in ends}) == 1
    seen = [
        each if each.key == first else replace(each, s=each.s + 0.1, after_s=each.after_s - 0.1)
        for each in sorted(ends, key=lambda each: each.key != first)
    ]
    lines = [each for each in recorded.lines if each not in ends]
    lines = sorted([*seen, *lines], key=lambda each: each.s)
    verdict = replay(Recording(recorded.header, tuple(lines)))
    assert verdict.contradictions == ()
    assert verdict.judged[f"leader: {EAST} as primary"] == 1


def _recorded(schedule: Schedule) -> Recording:
    recorded = simulate(schedule, record=True).recording
    assert recorded is not None
    return recorded


# Histories that cannot be: each is a simulated one with something changed.

Change = Callable[[list[Line]], list[Line]]


def _keys(lines: list[Line], key: str) -> list[Key]:
    return [each for each in lines if isinstance(each, Key) and each.key == key]


def _taken(lines: list[Line]) -> Key:
    """The moment when the other takes the leader key."""
    return next(each for each in _keys(lines, "leader") if each.value == WEST)


def _put(lines: list[Line], old: Line, *new: Line) -> list[Line]:
    at = lines.index(old)
    return [*lines[:at], *new, *lines[at + 1 :]]


def _persistent_leader(lines: list[Line]) -> list[Line]:
    taken = _taken(lines)
    return _put(lines, taken, replace(taken, owner=0))


def _takes_a_key_that_is_there(lines: list[Line]) -> list[Line]:
    gone = next(each for each in _keys(lines, "leader") if each.value is None)
    lines = [each for each in lines if each is not gone]
    taken = _taken(lines)
    first = _keys(lines, "leader")[0]
    return _put(lines, taken, replace(taken, czxid=first.czxid, owner=first.owner, version=1))


def _takes_without_being_named(lines: list[Line]) -> list[Line]:
    """/sync named nobody beside the old primary."""
    at_s = _taken(lines).s
    return [
        replace(each, value={**each.value, "sync_standby": None})
        if isinstance(each, Key) and each.key == "sync" and each.s < at_s
        else each
        for each in lines
    ]


def _names_himself_without_the_key(lines: list[Line]) -> list[Line]:
    first = _keys(lines, "sync")[0]
    stranger = replace(
        first, s=5.0, after_s=5.0, value={"leader": WEST, "sync_standby": None},
        version=first.version + 1, zxid=first.zxid + 1, first=False,
    )  # fmt: skip
    lines = [_later_version(each) for each in lines]
    return [*(each for each in lines if each.s <= 5.0), stranger, *(each for each in lines if each.s > 5.0)]


def _later_version(line: Line) -> Line:
    sync = isinstance(line, Key) and line.key == "sync" and line.s > 5.0
    return replace(line, version=line.version + 1) if sync and isinstance(line, Key) else line


def _version_goes_back(lines: list[Line]) -> list[Line]:
    last = _keys(lines, "sync")[-1]
    return _put(lines, last, replace(last, version=0))


def _older_change_later(lines: list[Line]) -> list[Line]:
    last = _keys(lines, "sync")[-1]
    return _put(lines, last, replace(last, zxid=1))


def _primaries(change: Callable[[Answer], Answer]) -> Change:
    def changed(lines: list[Line]) -> list[Line]:
        return [
            change(each)
            if isinstance(each, Answer) and each.member == WEST and each.role == "master"
            else each
            for each in lines
        ]

    return changed


def _says_primary_long_afterwards(lines: list[Line]) -> list[Line]:
    at_s = _taken(lines).s + 40.0
    late = Answer(at_s, at_s, EAST, 200, role="master", state="running", timeline=1)
    return [*lines, late]


def _bare(lines: list[Line]) -> list[Line]:
    """The release, without the rewritten /sync."""
    gone = next(each for each in _keys(lines, "leader") if each.value is None)
    rewritten = next(each for each in _keys(lines, "sync") if each.zxid == gone.zxid)
    return [each for each in lines if each is not rewritten]


def _not_waited_for(lines: list[Line]) -> list[Line]:
    return [
        replace(each, streaming={WEST: "async"})
        if isinstance(each, Answer) and each.member == EAST and each.s < 15.0
        else each
        for each in lines
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_persistent_leader, "leader is not ephemeral"),
        (_takes_a_key_that_is_there, "west-db-1 takes the leader key: no member"),
        (_takes_without_being_named, "west-db-1 takes the leader key: no member"),
        (_names_himself_without_the_key, 'after {"leader": "east-db-1"'),
        (_version_goes_back, "sync has version 0 after"),
        (_older_change_later, "sync was changed by 1, after"),
        (_bare, "the leader key of east-db-1 is deleted, and its session lives"),
        (_primaries(lambda each: replace(each, timeline=3)), "begins timeline 3 after 1"),
        (_primaries(lambda each: replace(each, timeline=1)), "on timeline 1 of east-db-1"),
        (_says_primary_long_afterwards, "answers /primary, and has not had the leader key for 20 s"),
        (_not_waited_for, "/sync names west-db-1, and east-db-1 has it as async"),
    ],
)
def test_what_cannot_be_is_told(change: Change, told: str) -> None:
    recorded = _recorded(CUT)
    found = replay(Recording(recorded.header, tuple(change(list(recorded.lines))))).contradictions
    assert any(told in each for each in found), found


def test_a_broken_system_that_deletes_the_key_bare_is_told_apart() -> None:
    broken = BY_NAME["leader key deleted bare"]
    with broken.composed() as variant:
        recorded = simulate(broken.schedule(broken.shown_by), variant, record=True).recording
    assert recorded is not None
    assert any("is deleted, and its session lives" in each for each in replay(recorded).contradictions)


def test_the_models_next_changes_follow_from_the_keys() -> None:
    keys = {
        "sync": Held({"leader": EAST, "sync_standby": WEST}, 4),
        f"members/{EAST}": Held({}, 0, 11),
        f"members/{WEST}": Held({}, 0, 12),
    }
    roles = {EAST: frozenset({"standby"}), WEST: frozenset({"standby"})}
    free = next_changes(Situation(keys, roles, {EAST: 5, WEST: 5}))
    assert {("leader", EAST), ("leader", WEST)} <= set(free)
    alone = {**keys, "sync": Held({"leader": EAST, "sync_standby": None}, 5)}
    assert ("leader", WEST) not in next_changes(Situation(alone, roles, {EAST: 5, WEST: 5}))


# The recorder.


class Folders(Client):
    """As a real server answers for a node that has children."""

    def get_async(self, path: str) -> Asked:
        if path not in self._ensemble.children:
            return super().get_async(path)
        return Look(lambda _tree: (b"", SimpleNamespace(pzxid=self._ensemble.changed[path])))


def test_the_recorder_sees_in_zookeeper_what_the_simulation_itself_writes_down(tmp_path: Path) -> None:
    world = World(3)
    tap = recording.Tap(world)
    path = tmp_path / "seen.jsonl.gz"
    with recording.writing(path) as file:
        page = Page(file, lambda: world.scheduler.now_s)
        page.write(tap.recording.header)

        def run() -> None:
            session = SimSession(world.ensemble, world.network.machines["client"], 6.0)
            session.client = Folders(world.ensemble)
            keys = Keys(session, KEYS, tuple(DATABASES), page)
            while True:
                keys.look()
                world.scheduler.sleep(0.08)

        world.scheduler.spawn("recorder", world.network.machines["client"], run)
        (fault,) = MOVED.faults
        world.scheduler.at(fault.at_s, lambda: faults.begin(world, fault))
        world.run_until(45.0)
        world.end()
    seen = recording.read(path)
    for key in ("leader", "sync", "failover"):
        assert _contents(seen, key) == _contents(tap.recording, key)
    assert _contents(seen, "leader") == [EAST, WEST], "it was moved"
    both = Recording(
        seen.header, tuple(sorted((*seen.keys, *tap.recording.answers), key=lambda each: each.s))
    )
    assert replay(both).contradictions == ()


class Reads:
    """A session that reads one key after the other; ``then`` happens after the read of that number."""

    def __init__(self, ensemble: Ensemble, then: dict[int, Callable[[], object]]) -> None:
        self.client = Folders(ensemble)
        self._ensemble = ensemble
        self._then = then
        self._number = 0

    def sent(self, _tried: str, request: Callable[[], Asked]) -> Asked:
        return request()

    def wait(self, _tried: str, asked: Asked, _limit_s: float) -> Any:
        result = asked.carry_out(self._ensemble, 0, self._ensemble.voters[-1])
        self._number += 1
        self._then.get(self._number, lambda: None)()
        if isinstance(result, Exception):
            raise result
        return result


READS = len(KEPT) + len(DATABASES) + 4
"""Of a look: the keys, and before and after them the two folders."""


@pytest.mark.parametrize("read", range(1, READS + 1))
def test_a_session_that_ends_between_two_reads_of_a_look_is_no_bare_delete(tmp_path: Path, read: int) -> None:
    """It ends because its member was asked to hand over, as Patroni's primary does that restarts."""
    found = _seen_of_a_hand_over(tmp_path, {read: lambda ensemble: ensemble.end(ensemble.sessions[1])})
    assert found.contradictions == ()
    assert found.judged == {f"leader: {EAST} as primary": 1}


@pytest.mark.parametrize("read", range(1, READS + 1))
def test_a_bare_delete_between_two_reads_of_a_look_is_told(tmp_path: Path, read: int) -> None:
    """Nobody of ours does that, and no member whose session lives."""
    found = _seen_of_a_hand_over(
        tmp_path, {read: lambda ensemble: ensemble.commit(1, [("delete", f"{KEYS}/leader", ANY)])}
    )
    (told,) = found.contradictions
    assert "is deleted, and its session lives" in told


@pytest.mark.parametrize("read", range(1, READS + 1))
def test_a_key_that_was_released_and_is_taken_soon_is_no_bare_delete(tmp_path: Path, read: int) -> None:
    """However few reads lie between: the look during which it was taken would tell the release by the wrong
    transaction, and is taken again."""

    def released(ensemble: Ensemble) -> None:
        sync = ensemble.tree[f"{KEYS}/sync"]
        rewritten = ("set", f"{KEYS}/sync", sync.data, sync.version)
        ensemble.commit(3, [rewritten, ("delete", f"{KEYS}/leader", ANY)])

    def taken(ensemble: Ensemble) -> None:
        ensemble.commit(2, [("create", f"{KEYS}/leader", WEST.encode(), True, True)])

    for later in range(1, READS + 1):
        found = _seen_of_a_hand_over(tmp_path, {read: released, read + later: taken})
        assert found.contradictions == (), later
        assert found.judged, later


def _seen_of_a_hand_over(tmp_path: Path, happens: dict[int, Callable[[Ensemble], object]]) -> Verdict:
    """What ``happens`` after which read of the looks that follow the first."""
    scheduler = Scheduler(1)
    ensemble = Ensemble(scheduler, Network(scheduler))
    for _client in (*DATABASES, "ours"):
        ensemble.new_session(20.0, lambda: True)
    asked = {"leader": EAST, "member": WEST}
    for key, value, session in (
        (f"members/{EAST}", {"state": "running"}, 1),
        (f"members/{WEST}", {"state": "running"}, 2),
        ("leader", EAST, 1),
        ("sync", {"leader": EAST, "sync_standby": WEST}, 0),
        ("failover", asked, 0),
    ):
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        ensemble.commit(session, [("create", f"{KEYS}/{key}", data, session != 0, True)])
    now_s = iter(range(100_000))
    path = tmp_path / "seen.jsonl"
    with recording.writing(path) as file:
        page = Page(file, lambda: float(next(now_s)))
        page.write(Header("simulation", "a hand-over", tuple(DATABASES), 20.0))
        reads = Reads(ensemble, {READS + read: partial(each, ensemble) for read, each in happens.items()})
        keys = Keys(reads, KEYS, tuple(DATABASES), page)
        for _look in range(5):
            keys.look()
    return replay(recording.read(path))


def _contents(recorded: Recording, key: str) -> list[Any]:
    """What the key was, in order; the same content twice once, since looks may miss that."""
    found: list[Any] = []
    for each in recorded.keys:
        if each.key == key and (not found or found[-1] != each.value):
            found.append(each.value)
    return [each for each in found if each is not None]


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    recorded = _recorded(MOVED)
    recording.write(tmp_path / "a.jsonl", recorded)
    recording.write(tmp_path / "b.jsonl.gz", recorded)
    assert recording.read(tmp_path / "a.jsonl") == recording.read(tmp_path / "b.jsonl.gz")
    again = recording.read(tmp_path / "a.jsonl")
    assert [each.value for each in again.keys] == [each.value for each in recorded.keys]
    with pytest.raises(ValueError, match="not a recording"):
        recording.parse(["{}"])


def test_a_recording_whose_maker_was_killed_is_read_up_to_there(tmp_path: Path) -> None:
    recorded, now_s = _recorded(MOVED), iter(range(100_000))
    path = tmp_path / "a.jsonl.gz"
    with recording.writing(path) as file:
        page = Page(file, lambda: float(next(now_s)))
        for line in (recorded.header, *recorded.lines):
            page.write(line)
        (tmp_path / "killed.jsonl.gz").write_bytes(path.read_bytes())
    kept = recording.read(tmp_path / "killed.jsonl.gz")
    assert len(kept.lines) == page.lines - 1
    assert replay(kept).contradictions == ()


def test_members_of_other_names_are_judged_too() -> None:
    recorded = _recorded(MOVED)
    elsewhere = recording.renamed(recorded, ("pg-a", "pg-b"))
    assert elsewhere.header.members == ("pg-a", "pg-b")
    assert {each.member for each in elsewhere.answers} == {"pg-a", "pg-b"}
    assert EAST not in "".join(recording.to_json(each) for each in elsewhere.lines)
    assert replay(elsewhere) == replay(recorded)
    with pytest.raises(ValueError, match="2 members, and the models know 3"):
        recording.renamed(recorded, ("a", "b", "c"))


def test_nothing_but_patronis_own_words_is_kept() -> None:
    told = {"conn_url": "postgres://u:p@192.0.2.1/x", "state": "running", "role": "replica", "timeline": 2}
    assert recording.value_of(f"members/{EAST}", json.dumps(told).encode()) == {
        "state": "running", "role": "replica", "timeline": 2,
    }  # fmt: skip
    settings = {"ttl": 20, "postgresql": {"parameters": {"primary_conninfo": "password=x"}}}
    assert recording.value_of("config", json.dumps(settings).encode()) == {"ttl": 20}


def test_a_members_answer_is_read() -> None:
    own = {
        "state": "running", "role": "master", "timeline": 4, "xlog": {"location": 99},
        "replication": [
            {"application_name": WEST, "state": "streaming", "sync_state": "sync"},
            {"application_name": "x", "state": "catchup", "sync_state": "async"},
        ],
    }  # fmt: skip
    answer = parse_answer(EAST, 1.0, 1.1, 200, json.dumps(own))
    assert (answer.code, answer.role, answer.timeline, answer.location) == (200, "master", 4, 99)
    assert answer.streaming == {WEST: "sync"}
    with pytest.raises(ValueError, match="not a member's"):
        parse_answer(EAST, 1.0, 1.1, 503, "[]")


def test_files_are_judged_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = _recorded(CUT)
    recording.write(tmp_path / "well.jsonl", recorded)
    recording.write(tmp_path / "not.jsonl", Recording(recorded.header, tuple(_bare(list(recorded.lines)))))
    assert main([str(tmp_path / "well.jsonl")]) == 0
    assert "our release of the leader key" in capsys.readouterr().out
    assert main([str(tmp_path / "not.jsonl")]) == 1
    assert "==> " in capsys.readouterr().out
