"""The controller's loop where the ensemble goes away in the middle."""

from dataclasses import replace

from situations import east_lost

from dcctl.domain.automation import Decision, LastAction, Mode
from dcctl.domain.failover import decide_failover
from dcctl.domain.plan import Plan
from dcctl.domain.verdict import Settled
from dcctl.engines.controller import Controller
from dcctl.errors import Unreachable
from dcctl.testing.automation import FakeAutomations
from dcctl.testing.clock import EPOCH


class Forgetful(FakeAutomations):
    """Nothing can be written, for once."""

    silent = True

    def record_last(self, last: LastAction | None) -> None:
        if self.silent:
            self.silent = False
            raise Unreachable("write", on="ZooKeeper", saw="no answer within 2 s")
        super().record_last(last)


def test_a_site_is_not_given_up_before_that_is_kept_and_the_controller_goes_on() -> None:
    acted: list[str] = []
    told: list[str] = []
    situation = east_lost().look()
    plan = decide_failover("east", situation)
    assert isinstance(plan, Plan)
    controller = Controller(
        None,  # type: ignore[arg-type]  # nothing is looked at here
        Mode.AUTOMATIC,
        Forgetful(),
        lambda lost: acted.append(lost) or "run-1",  # type: ignore[func-returns-value]
        told.append,
    )
    controller.settled = {"east": Settled(situation.verdict_of("east"), 0.0)}
    decision = replace(Decision("east"), plan=plan)
    controller._follow(decision, EPOCH)
    assert acted == []
    assert "before that can be kept" in told[-1]
    controller._follow(decision, EPOCH)
    assert acted == ["east"]
