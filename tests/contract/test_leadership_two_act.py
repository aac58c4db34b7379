"""Trying to make two act: real ZooKeeper, real PostgreSQL, two real ``dcctl leader hold``, and violence.

Two checkers judge each case. By the store's own record: in the order in which the rows were written, their
epochs never fall. By the clock: all attempts of one epoch, accepted or not, end before the first of the
next. Each checker is then shown to notice what it is for, by leaving a rule out.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from postgres import PASSWORD, Postgres, running_postgres
from zookeeper_server import Relay, Server, running_zookeeper

from dcctl.testing.leadership import Stay, overlaps

HERE = Path(__file__).parent
SCHEMA = HERE.parents[1] / "procurement" / "procurement" / "schema.sql"
SESSION_S = 5.0
GRACE_S = 1.0
LIMIT_S = 60.0
_made = iter(range(1_000_000))


@dataclass
class Holder:
    """One ``dcctl leader hold``, with a way to ZooKeeper of its own."""

    relay: Relay
    process: "subprocess.Popen[str]"
    log: Path

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def says(self) -> str:
        return self.log.read_text()


@dataclass
class World:
    zookeeper: Server
    postgres: Postgres
    folder: Path
    role: str = field(default_factory=lambda: f"role-{next(_made)}")
    holders: list[Holder] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notes = self.folder / "notes"
        self.notes.touch()
        self.postgres.query("TRUNCATE act")

    def hold(self, *manners: str, broken: str = "", options: tuple[str, ...] = ()) -> Holder:
        relay = Relay(self.zookeeper.port)
        program = [str(HERE / "broken_leader.py"), broken] if broken else ["-m", "dcctl.cli.main"]
        log = self.folder / f"holder-{len(self.holders)}.log"
        conninfo = f"host=127.0.0.1 port={self.postgres.port} user=postgres dbname=postgres"
        argv = [
            *(sys.executable, *program, "leader", "hold", self.role, "-e", "two-act"),
            *("--zookeeper", relay.hosts, "--conninfo", conninfo),
            *("--session", f"{SESSION_S}", "--grace", f"{GRACE_S}", *options, "--"),
            *(sys.executable, str(HERE / "acting_writer.py"), str(self.notes), conninfo, *manners),
        ]
        with log.open("w") as file:
            process = subprocess.Popen(
                argv, stdout=file, stderr=file, text=True, env={**os.environ, "PGPASSWORD": PASSWORD}
            )
        self.holders.append(Holder(relay, process, log))
        return self.holders[-1]

    def stays(self) -> list[Stay]:
        """From the notes: from the first attempt of each epoch to the end of its last."""
        found: dict[int, Stay] = {}
        for line in self.notes.read_text().splitlines():
            epoch, invoked_s, *ended_s = line.split()
            stay = found.setdefault(int(epoch), Stay(int(epoch), float(invoked_s), float(invoked_s)))
            stay.ended_s = max(stay.ended_s, float((ended_s or [invoked_s])[0]))
        return list(found.values())

    def rows(self) -> list[int]:
        """The epochs of the rows in the order in which they were written, each run of equals as one."""
        epochs = [int(line) for line in self.postgres.query("SELECT epoch FROM act ORDER BY id").split()]
        return [epoch for index, epoch in enumerate(epochs) if index == 0 or epochs[index - 1] != epoch]

    def until_epochs(self, count: int) -> None:
        """Wait until ``count`` epochs have had a row accepted."""
        self.until(lambda: len(set(self.rows())) >= count)

    def until(self, true: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not true():
            assert time.monotonic() < deadline_s, "\n".join(each.says() for each in self.holders)
            time.sleep(0.1)

    def until_silent(self) -> None:
        """Wait until every old writer that may live had time to show itself."""
        time.sleep(1.0)

    def close(self) -> None:
        for each in self.holders:
            with contextlib.suppress(ProcessLookupError):
                each.signal(signal.SIGCONT)
            each.process.terminate()
        for each in self.holders:
            each.relay.frozen = False
            try:
                each.process.wait(20)
            except subprocess.TimeoutExpired:
                each.process.kill()
                each.process.wait()
            each.relay.close()
        for pid in self._writers():
            os.kill(pid, signal.SIGKILL)

    def _writers(self) -> list[int]:
        """Writers that were left behind, which only a broken holder does."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str(self.notes).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found


@pytest.fixture(scope="module")
def zookeeper() -> Iterator[Server]:
    with running_zookeeper() as (only,):
        yield only


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        server.query(SCHEMA.read_text())
        server.query("CREATE TABLE act (id bigserial PRIMARY KEY, epoch bigint NOT NULL, pid int NOT NULL)")
        yield server


@pytest.fixture
def world(zookeeper: Server, postgres: Postgres, tmp_path: Path) -> Iterator[World]:
    with contextlib.closing(World(zookeeper, postgres, tmp_path)) as world:
        yield world


def never_falls(epochs: list[int]) -> bool:
    """The first checker."""
    return epochs == sorted(set(epochs))


def killed(holder: Holder) -> None:
    holder.signal(signal.SIGKILL)


def frozen(holder: Holder) -> None:
    holder.signal(signal.SIGSTOP)


def cut_off(holder: Holder) -> None:
    holder.relay.frozen = True


@pytest.mark.parametrize("manner", ["", "stubborn"])
@pytest.mark.parametrize("strike", [killed, frozen, cut_off])
def test_exactly_one_acts(world: World, strike: Callable[[Holder], None], manner: str) -> None:
    world.hold(manner)
    world.hold(manner)
    world.until_epochs(1)
    (first,) = [each for each in world.holders if "leader: leads" in each.says()]
    strike(first)
    world.until_epochs(2)
    if strike is frozen:
        first.signal(signal.SIGCONT)
    first.relay.frozen = False
    world.until_silent()
    first_epoch, second_epoch = world.rows()
    assert first_epoch < second_epoch
    assert overlaps(world.stays()) == ()
    if strike is not killed:
        assert first.process.wait(30) == 6
        assert "the command was ended" in first.says()
        assert "next: dcctl -e two-act leader hold" in first.says()


@pytest.mark.parametrize("strike", [killed, frozen])
def test_the_clock_notices_a_missing_watchdog_and_the_store_still_refuses(
    world: World, strike: Callable[[Holder], None]
) -> None:
    first = world.hold("stubborn", broken="unwatched")
    world.until_epochs(1)
    world.hold("stubborn")
    strike(first)
    world.until_epochs(2)
    world.until_silent()
    assert overlaps(world.stays()), "two believed, and the checker must see it"
    assert never_falls(world.rows()), "but the store accepted one only"


def test_the_store_notices_an_epoch_that_nobody_checks(world: World) -> None:
    first = world.hold("stubborn", "unchecked", broken="unwatched")
    world.until_epochs(1)
    world.hold("stubborn", "unchecked")
    frozen(first)
    world.until_epochs(2)
    world.until_silent()
    assert not never_falls(world.rows())
    assert overlaps(world.stays())


def test_the_clock_notices_a_deadline_taken_from_events(world: World) -> None:
    first = world.hold("stubborn", broken="events")
    world.until_epochs(1)
    world.hold("stubborn")
    cut_off(first)
    world.until_epochs(2)
    world.until_silent()
    assert overlaps(world.stays())
    assert never_falls(world.rows())
