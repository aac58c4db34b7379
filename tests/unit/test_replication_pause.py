"""Pausing: nothing is begun, what is under way ends, and everybody can see when it has."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dcctl.adapters.replication_pause import FilePauses
from dcctl.domain.replication_pause import IDLE, WORKING, Pause, at_rest
from dcctl.engines.replication_follow import Gate
from dcctl.errors import Unreachable
from dcctl.testing.contracts.pause import PausesContract

PAUSE = Pause("oncall@here", datetime(2026, 11, 22, tzinfo=UTC), "the west is being upgraded")


class Away:
    """An ensemble that may not answer."""

    def __init__(self) -> None:
        self.pause: Pause | None = None
        self.reported: list[str | None] = []
        self.away = False

    def _asked(self) -> None:
        if self.away:
            raise Unreachable("ask", saw="away")

    def observe_pause(self) -> Pause | None:
        self._asked()
        return self.pause

    def change_pause(self, pause: Pause | None) -> None:
        self._asked()
        self.pause = pause

    def observe_followers(self) -> dict[str, str]:
        return {}

    def report(self, state: str | None) -> None:
        self._asked()
        self.reported.append(state)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FilePauses]:
    return FilePauses(tmp_path / "replication")


class TestFilePauses(PausesContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "replication"

    def pauses(self) -> FilePauses:
        return FilePauses(self.folder)


def test_what_was_begun_ends_and_nothing_more_is_begun(files: FilePauses) -> None:
    async def whole() -> None:
        gate = Gate([files])
        async with gate.followed():
            with gate.passed() as is_open:
                assert is_open
                files.change_pause(PAUSE)
                await gate.look()
                assert list(files.observe_followers().values()) == [WORKING]
            with gate.passed() as is_open:
                assert not is_open
            await gate.look()
            assert at_rest(files.observe_pause(), files.observe_followers())
            files.change_pause(None)
            await gate.look()
            with gate.passed() as is_open:
                assert is_open
        assert files.observe_followers() == {}

    asyncio.run(whole())


def test_an_ensemble_that_does_not_answer_leaves_it_as_it_was() -> None:
    async def whole() -> None:
        ensemble = Away()
        ensemble.pause = PAUSE
        gate = Gate([ensemble])
        await gate.look()
        ensemble.away, ensemble.pause = True, None
        await gate.look()
        with gate.passed() as is_open:
            assert not is_open
        ensemble.away = False
        await gate.look()
        with gate.passed() as is_open:
            assert is_open
        assert ensemble.reported == [IDLE, WORKING]

    asyncio.run(whole())


def test_it_is_not_at_rest_while_anybody_works_or_nobody_paused_it() -> None:
    assert at_rest(PAUSE, {})
    assert not at_rest(PAUSE, {"a": IDLE, "b": WORKING})
    assert not at_rest(None, {"a": IDLE})


def test_what_is_no_pause_is_said_so(files: FilePauses, tmp_path: Path) -> None:
    (tmp_path / "replication").mkdir()
    (tmp_path / "replication/paused").write_text("[]")
    with pytest.raises(Unreachable, match="not a pause"):
        files.observe_pause()
