"""The safety rules: every reason names its rule, and a person overrides one for one run, or nobody does."""

import json
import pickle
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from situations import EAST_DOWN, World, east_lost, role, state, vantage
from test_failover_engine import east_dark
from two_sites import TwoSites

from dcctl.cli.errors import say
from dcctl.cli.main import run as dcctl
from dcctl.cli.move import overridable
from dcctl.config.safety import Rules
from dcctl.domain.admission import decide_admission
from dcctl.domain.capacity import Fit
from dcctl.domain.failover import decide_failover
from dcctl.domain.order import Order, read_order
from dcctl.domain.plan import Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import (
    OVERRIDABLE,
    ChangeWindow,
    LastMove,
    Override,
    Reason,
    Rule,
    SafetyRules,
    decide_overrides,
    of,
    rule_of,
)
from dcctl.domain.situation import Documents
from dcctl.domain.switchover import decide_failback, decide_switchover
from dcctl.domain.traffic import Rotation
from dcctl.engines.failover import failover
from dcctl.engines.switchover import failback, switchover
from dcctl.errors import Refused, TimedOut

KYIV = ZoneInfo("Europe/Kyiv")
AUCTIONS = ChangeWindow(KYIV)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("instant", "closed"),
    [
        ("2026-01-05T11:00+02:00", True),
        ("2026-01-05T10:59+02:00", False),
        ("2026-01-05T15:59+02:00", True),
        ("2026-01-05T16:00+02:00", False),
        ("2026-01-05T09:30+00:00", True),  # 11:30 there, in winter
        ("2026-07-06T08:30+00:00", True),  # 11:30 there, in summer
        ("2026-07-06T13:30+00:00", False),  # 16:30 there
        ("2026-01-03T12:00+02:00", False),  # a Saturday
        ("2026-01-10T12:00+02:00", True),  # a Saturday on which auctions are held
        ("2026-01-07T12:00+02:00", False),  # a holiday
    ],
)
def test_auctions_are_left_alone(instant: str, closed: bool) -> None:
    window = ChangeWindow(KYIV, holidays=(date(2026, 1, 7),), extra_days=(date(2026, 1, 10),))
    assert window.is_closed(at(instant)) is closed


def refused_by(decided: Plan | Refusal) -> set[str]:
    assert isinstance(decided, Refusal), decided
    assert all(isinstance(each, Reason) for each in decided.reasons), decided.reasons
    return {rule_of(each) for each in decided.reasons}


def test_every_reason_of_every_decision_names_its_rule() -> None:
    broken = World(
        silent={"east-db-1", "east-edge-1", "west-db-1"},
        quorum=False,
        synchronous=(),
        confirmed=(),
        paused=True,
        witness=False,
        fit=Fit.SHORT,
        states={"east": state("east", Rotation.QUARANTINED), "west": state("west", Rotation.DRAINED)},
        roles=(role("auction", "east-edge-1"),),
    ).look()
    for decided in (
        decide_failover("east", broken),
        decide_failover("west", broken),
        decide_switchover("west", broken),
        decide_failback("east", broken),
        decide_admission("east", broken),
        decide_admission("west", broken),
    ):
        assert refused_by(decided)


RULES = (
    (World(), Rule.ONLY_A_LOST_SITE),
    (east_lost(witness=False), Rule.WITNESS_REQUIRED),
    (east_lost(vantages=(vantage("west-edge-1", EAST_DOWN),)), Rule.NO_UNKNOWN_VERDICT),
    (east_lost(fit=Fit.SHORT), Rule.SURVIVOR_HAS_HEADROOM),
    (east_lost(states={"west": state("west", Rotation.DRAINED)}), Rule.NEVER_ZERO_ACTIVE),
    (east_lost(synchronous=()), Rule.NO_WRITE_LOST),
    (east_lost(paused=True), Rule.PATRONI_ACTS),
    (east_lost(quorum=False), Rule.QUORUM),
)


@pytest.mark.parametrize(
    ("world", "rule"), RULES, ids=lambda each: str(each) if isinstance(each, Rule) else ""
)
def test_a_failover_is_refused_by_the_rule_and_overridden_by_its_name_alone(world: World, rule: Rule) -> None:
    from dataclasses import replace

    situation = world.look()
    assert rule in refused_by(decide_failover("east", situation))
    said = replace(situation, overrides=(Override(rule, "ticket 7", "ann"),))
    decided = decide_failover("east", said)
    if rule in OVERRIDABLE:
        assert isinstance(decided, Plan)
        assert {each.rule for each in decided.overridden} == {rule}
    else:
        assert rule in refused_by(decided)
    others = tuple(Override(each, "ticket 7", "ann") for each in OVERRIDABLE if each is not rule)
    assert rule in refused_by(decide_failover("east", replace(situation, overrides=others)))


def test_documents_that_waited_too_long_are_a_loss_that_is_refused() -> None:
    from dataclasses import replace

    rules = SafetyRules(max_loss_window=timedelta(seconds=60))
    for documents, refused in (
        (Documents(0), False),
        (Documents(4, oldest_s=59.0), False),
        (Documents(4, oldest_s=61.0), True),
    ):
        situation = replace(east_lost(documents=documents).look(), rules=rules)
        decided = decide_failover("east", situation)
        assert isinstance(decided, Refusal) is refused
    unknown = replace(east_lost(documents_unknown="no answer").look(), rules=rules)
    assert refused_by(decide_failover("east", unknown)) == {Rule.MAX_LOSS_WINDOW}


def test_a_planned_move_waits_for_its_time_and_one_that_was_begun_does_not() -> None:
    from dataclasses import replace

    noon = at("2026-01-05T12:00+02:00")
    last = LastMove("failover", "west", "run-1", noon - timedelta(minutes=4))
    rules = SafetyRules(change_window=AUCTIONS, hold_off=timedelta(minutes=10))
    from dcctl.domain.observation import Seen

    situation = replace(World().look(), at=noon, rules=rules, last_move=Seen(last))
    assert refused_by(decide_switchover("west", situation)) == {Rule.CHANGE_WINDOW, Rule.HOLD_OFF}
    assert isinstance(decide_switchover("west", replace(situation, resumed=True)), Plan)
    later = replace(situation, at=noon + timedelta(hours=5))
    assert isinstance(decide_switchover("west", later), Plan)
    lost = replace(east_lost().look(), at=noon, rules=rules, last_move=Seen(last))
    assert isinstance(decide_failover("east", lost), Plan), "a failure keeps no hours"


def test_an_override_needs_a_reason_and_a_rule_that_is_no_promise() -> None:
    assert decide_overrides((), "", "ann") == ((), (), ())
    assert "needs --reason" in decide_overrides(("hold-off",), " ", "ann")[1][0]
    assert "there is no rule 'hold'" in decide_overrides(("hold",), "ticket 7", "ann")[1][0]
    for rule in Rule:
        made, wrong, refused = decide_overrides((rule,), "ticket 7", "ann")
        assert wrong == ()
        assert [each.rule for each in made] == [rule]
        assert bool(refused) is not (rule in OVERRIDABLE)


def test_the_engine_refuses_and_not_the_command() -> None:
    world = TwoSites(rules=SafetyRules(hold_off=timedelta(hours=1)))
    world.perform(partial(switchover, "west"))
    with pytest.raises(Refused, match="switchover of west") as refused:
        world.perform(partial(failback, "east"))
    assert [rule_of(each) for each in refused.value.reasons] == [Rule.HOLD_OFF]


def test_an_override_is_for_one_run_and_is_in_its_journal() -> None:
    world = TwoSites(rules=SafetyRules(hold_off=timedelta(hours=1)))
    world.perform(partial(switchover, "west"))
    world.overrides = (Override(Rule.HOLD_OFF, "ticket 7", "ann@laptop"),)
    moved, events = world.perform(partial(failback, "east"))
    assert moved.plan.what == "failback"
    (noted,) = [event for event in events if event.type == "rule.overridden"]
    assert (noted.fields["rule"], noted.fields["by"], noted.fields["reason"]) == (
        "hold-off",
        "ann@laptop",
        "ticket 7",
    )
    assert "switchover of west" in noted.fields["waived"]


def test_a_person_states_the_fence() -> None:
    """Patroni promotes by its own rules; what dcctl waits for is stated, and kept."""
    world = east_dark()
    world.overrides = (Override(Rule.FENCE, "the power is cut, ticket 7", "ann@laptop"),)
    moved, events = world.perform(partial(failover, "east"))
    assert moved.fences[-1] == "ann@laptop states that nobody at east can act: the power is cut, ticket 7"
    assert any(event.type == "rule.overridden" for event in events)
    assert moved.primary == "west-db-1"


def test_a_stated_fence_does_not_make_the_quorum_forget() -> None:
    """Patroni promotes nobody while the lost primary's session lives, whatever a person states."""
    world = east_dark()
    world.system.promote_after_s = 100_000
    world.overrides = (Override(Rule.FENCE, "the power is cut, ticket 7", "ann@laptop"),)
    with pytest.raises(TimedOut, match="the session of east-db-1 has not ended yet"):
        world.perform(partial(failover, "east"))
    assert world.calls == []


def test_a_quarantined_site_is_no_home() -> None:
    home = World(states={"west": state("west", Rotation.QUARANTINED)}).look()
    decided = decide_failback("west", home)
    assert {Rule.CAUGHT_UP, Rule.NEVER_ZERO_ACTIVE} == refused_by(decided)
    assert any("dcctl admit west" in each for each in decided.reasons)  # type: ignore[union-attr]


def test_an_order_is_read_as_it_was_typed() -> None:
    for order in (
        Order("failover", "east"),
        Order("failback", "east", ("hold-off",), "it's ticket 7"),
        Order("admit", "east"),
        Order("admit", "east", rebuild=True),
        Order("drain", "west", reason="patching the hosts"),
    ):
        assert read_order(order.words()) == order
    for words in ("deploy", "drill run site-power-loss", "failover plan --lost east", "failover apply", "'"):
        assert read_order(words) is None


def test_a_reason_keeps_its_rule_wherever_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    reason = Reason(Rule.HOLD_OFF, "too soon")
    assert (pickle.loads(pickle.dumps(reason)).rule, reason == "too soon") == (Rule.HOLD_OFF, True)  # noqa: S301
    say(Refused("move", reasons=(reason, "because")))
    assert "  - too soon  [hold-off]\n  - because\n" in capsys.readouterr().err
    say(Refused("move", reasons=(reason,)), as_json=True)
    assert json.loads(capsys.readouterr().err)["rules"] == ["hold-off"]


def test_the_configuration_says_the_rules() -> None:
    read = Rules.model_validate(
        {
            "max_loss_window": "60s",
            "hold_off": "10m",
            "change_window": {"keep_clear": "10:30-17:00", "days": ["monday"], "holidays": ["2026-01-01"]},
        }
    )
    rules = read.as_rules()
    assert (rules.max_loss_window, rules.hold_off) == (timedelta(seconds=60), timedelta(minutes=10))
    assert rules.change_window == ChangeWindow(
        KYIV, time(10, 30), time(17), weekdays=(0,), holidays=(date(2026, 1, 1),)
    )
    assert Rules().as_rules() == SafetyRules()
    assert Rules.model_validate({"change_window": {}}).as_rules().change_window == AUCTIONS


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"never_zero_active": False}, "cannot be switched off"),
        ({"no_unknown_verdict": False}, "cannot be switched off"),
        ({"change_window": {"keep_clear": "16:00-11:00"}}, "from one time of day to a later one"),
        ({"change_window": {"keep_clear": "noon"}}, "from one time of day to a later one"),
        ({"change_window": {"timezone": "Europe/Kiew"}}, "IANA"),
        ({"change_window": {"days": ["someday"]}}, "monday"),
        ({"hold_of": "10m"}, "Extra inputs"),
    ],
)
def test_a_wrong_rule_is_told(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Rules.model_validate(wrong)


@pytest.mark.parametrize(
    "command",
    [
        ("failover", "plan", "--lost", "east"),
        ("failover", "apply", "--lost", "east"),
        ("switchover", "apply", "--to", "east"),
        ("failback", "apply", "--to", "east"),
        ("drain", "east"),
        ("undrain", "east"),
        ("deploy",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--override", "change-window"), 2),
        (("--override", "lunch", "--reason", "hungry"), 2),
        (("--override", "never-zero-active", "--reason", "it is night"), 5),
    ],
)
def test_a_promise_is_overridden_by_no_command(
    command: tuple[str, ...], words: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(Path(__file__).parent / "cases" / "config" / "good.yaml")
    assert dcctl(["-e", good, *command, *words]) == code
    assert "override" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (of(Rule.NO_UNKNOWN_VERDICT, ["unknown", "unknown still"]), ("no-unknown-verdict",)),
        (
            [*of(Rule.HOLD_OFF, ["too soon"]), *of(Rule.CHANGE_WINDOW, ["it is noon"])],
            ("hold-off", "change-window"),
        ),
        ([*of(Rule.HOLD_OFF, ["too soon"]), *of(Rule.QUORUM, ["none"])], ()),
        (of(Rule.FENCE, ["somebody there can act"]), ()),  # it is stated, and not offered
        (["a sentence of no rule"], ()),
    ],
)
def test_what_a_person_may_set_aside_is_named_where_nothing_else_stands_against_it(
    reasons: list[str], told: tuple[str, ...]
) -> None:
    assert overridable(Refusal(tuple(reasons))) == told
