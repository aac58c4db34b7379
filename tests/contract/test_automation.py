"""What people say of automatic action, in memory and in a real ZooKeeper: the same promises."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from zookeeper_server import running_zookeeper

from dcctl.adapters.guard import boot_clock
from dcctl.adapters.zookeeper import ZooKeeperAutomation, ZooKeeperSession
from dcctl.domain.automation import Automation, Certificate, LastAction, Mode
from dcctl.engines.controller import change_automation
from dcctl.errors import Refused, Rejected
from dcctl.ports import Automations
from dcctl.testing.automation import FakeAutomations

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def session() -> Iterator[ZooKeeperSession]:
    with running_zookeeper() as (server,):
        begun = ZooKeeperSession(f"127.0.0.1:{server.port}", session_s=20.0, clock=boot_clock)
        with closing(begun):
            begun.connect(limit_s=60)
            yield begun


@pytest.fixture(params=["fake", "zookeeper"])
def automations(request: pytest.FixtureRequest) -> Automations:
    if request.param == "fake":
        return FakeAutomations()
    environment = request.node.name.replace("[", "-").replace("]", "")
    return ZooKeeperAutomation(request.getfixturevalue("session"), environment, limit_s=60)


def say(
    automations: Automations, reason: str, *, paused: bool | None = None, mode: Mode | None = None
) -> None:
    change_automation(automations, by="ann@ops", at=AT, reason=reason, paused=paused, mode=mode)


def test_until_somebody_says_something_the_configuration_decides(automations: Automations) -> None:
    said = automations.observe()
    assert said == Automation()
    assert said.mode_in_force(Mode.AUTOMATIC) is Mode.AUTOMATIC
    assert (automations.observe_last(), automations.observe_certificate("east")) == (None, None)


def test_what_is_said_is_kept_and_the_rest_stays_as_it_was(automations: Automations) -> None:
    say(automations, "first", mode=Mode.AUTOMATIC)
    say(automations, "work on the network", paused=True)
    said = automations.observe()
    assert (said.paused, said.mode, said.reason, said.by, said.at) == (
        True,
        Mode.AUTOMATIC,
        "work on the network",
        "ann@ops",
        AT,
    )
    say(automations, "", paused=False)
    assert automations.observe().paused is False
    change_automation(automations, by="bob@ops", at=AT, reason="back", as_configured=True)
    assert automations.observe().mode is None


def test_of_two_who_speak_at_once_one_is_told(automations: Automations) -> None:
    before = automations.observe()
    say(automations, "I was first", paused=True)
    wanted = Automation(mode=Mode.AUTOMATIC, by="bob@ops", at=AT)
    with pytest.raises(Refused, match="ann@ops changed it meanwhile"):
        automations.change(wanted, expected=before.version)
    assert automations.observe().paused


def test_our_own_change_whose_answer_was_lost_is_no_conflict(automations: Automations) -> None:
    wanted = Automation(paused=True, by="ann@ops", at=AT)
    automations.change(wanted, expected=automations.observe().version)
    assert automations.change(wanted, expected=None).paused


def test_the_last_action_and_the_certificates_are_replaced(automations: Automations) -> None:
    for done in (None, False, True):
        last = LastAction("east", "20260102-a", AT, done)
        automations.record_last(last)
        assert automations.observe_last() == last
    aborted = LastAction("east", "20260102-a", AT, done=False, aborted="ann@ops: I am there already")
    automations.record_last(aborted)
    assert automations.observe_last() == aborted
    automations.record_last(None)
    assert automations.observe_last() is None
    assert automations.observe() == Automation() or automations.observe().paused is False
    for fits in (False, True):
        certificate = Certificate("east", fits, ("too small",), "ann@ops", AT)
        automations.record_certificate(certificate)
        assert automations.observe_certificate("east") == certificate


def test_a_record_before_anybody_spoke_does_not_keep_anybody_from_speaking(automations: Automations) -> None:
    automations.record_last(LastAction("east", "", AT))
    say(automations, "now I speak", paused=True)
    assert automations.observe().paused


def test_what_is_not_ours_is_refused(session: ZooKeeperSession) -> None:
    session.client.create("/dcctl/strange/automation", json.dumps(["?"]).encode(), makepath=True)
    with pytest.raises(Rejected, match="not ours"):
        ZooKeeperAutomation(session, "strange", limit_s=60).observe()
