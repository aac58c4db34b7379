"""The controller: watches for a site that is lost, and gives it up by the plan that a person would get.

A generator like the agent's loops: it yields how many seconds it would wait and receives the moment then.
While all is well it reads what the vantages published and nothing else. When somebody does not see a site,
it looks at everything, judges, and acts or says why not. It holds no lease itself: it is run by whoever
leads the role ``controller``, and is ended before that lease is over.

Invariant: nothing is started but through ``decide_automatic``, on a look that was just taken; the engine
``failover`` then looks again by itself and refuses what no longer holds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from dcctl.domain.automation import Automation, Certificate, LastAction, Mode
from dcctl.domain.capacity import Capacity, Fit, Line
from dcctl.domain.controller import Decision, Standing, decide_automatic, decide_suspects
from dcctl.domain.failover_returned import is_back
from dcctl.domain.situation import Situation
from dcctl.domain.traffic import Observation
from dcctl.domain.verdict import Settled, SiteVerdict, Vantage, Verdict, decide_settled, decide_vantage
from dcctl.engines.agent import Loop
from dcctl.engines.situation import Means, observe_situation
from dcctl.errors import Aborted, DcctlError, Refused, Unreachable
from dcctl.ports import Automations, Vantages

LOOK_EVERY_S = 0.4
ABORT_LOOK_EVERY_S = 5.0
"""While all is well: whether there is an abort to forget."""
CERTIFICATE_LASTS = timedelta(days=7)


@dataclass
class Controller:
    """``act`` gives up a site as a run of its own and returns the run's name; it raises what ended it.

    ``means`` look from this place; ``tell`` gets sentences, each once.
    """

    means: Means
    configured: Mode
    automation: Automations
    act: Callable[[str], str]
    tell: Callable[[str], None] = lambda _sentence: None
    decision: Decision = field(default_factory=Decision)
    """The last one."""
    settled: dict[str, Settled] = field(default_factory=dict)
    _unacted: LastAction | None = None
    """What we may have kept and did not begin: it holds off nobody, ourselves included."""
    _told: str = ""
    _abort_look_s: float | None = None

    def control(self) -> Loop:
        """Look, decide and act, again and again."""
        moment = yield 0.0
        while True:
            try:
                self.decision = self._decide(moment.now_s)
            except Unreachable as error:
                self._say(f"waiting: {error.sentence()}")
            else:
                self._follow(self.decision, moment.at)
            moment = yield LOOK_EVERY_S

    def _decide(self, now_s: float) -> Decision:
        situation = self.look(now_s)
        if situation is None:
            if self._abort_look_s is None or now_s - self._abort_look_s >= ABORT_LOOK_EVERY_S:
                forget_abort(self.automation)  # every site is seen, and speaks
                self._abort_look_s = now_s
            return Decision()
        for site in situation.sites:
            self.settled[site] = decide_settled(self.settled.get(site), situation.verdict_of(site), now_s)
        said, last = self.automation.observe(), self.automation.observe_last()
        if last == self._unacted:
            last = None
        elif last is not None and last.aborted and is_back(last.site, situation):
            last = forget_abort(self.automation)
        return decide_automatic(situation, Standing(self.configured, said, last, self.settled))

    def look(self, now_s: float) -> Situation | None:
        """Everything, when somebody suspects something; None while nobody does, which is cheap to see."""
        seen = self.means.vantages.observe_vantages()
        suspects = decide_suspects(self.means.sites, self._worth(seen))
        if suspects:
            return observe_situation(self.means, losing=suspects[0])
        for site, before in self.settled.items():
            self.settled[site] = decide_settled(before, SiteVerdict(site, Verdict.UP, ()), now_s)
        return None

    def _worth(self, seen: tuple[Observation, ...]) -> list[Vantage]:
        now = self.means.now()
        return [decide_vantage(each, self.means.sites, now) for each in seen]

    def _follow(self, decision: Decision, at: datetime) -> None:
        if decision.lost is None:
            self._say("nothing is to be given up")
            return
        if decision.plan is None:
            self._say(f"{decision.lost} is lost and is not given up: {'; '.join(decision.reasons)}")
            return
        self._say(f"gives up {decision.lost}: {self.settled[decision.lost].verdict.sentence()}")
        self._act(decision.lost, at)

    def _act(self, lost: str, at: datetime) -> None:
        """What is kept before it begins holds off whoever comes after us, should we die in the middle."""
        begun = LastAction(lost, "", at)
        try:
            before = self.automation.observe_last()
            self.automation.record_last(begun)
        except Unreachable as error:
            self._unacted = begun
            self._say(f"{lost} is not given up before that can be kept: {error.sentence()}")
            return
        try:
            run = self.act(lost)
        except Refused as error:
            # Nothing was begun: what refused is looked at again.
            self._record(before, begun)
            self._say(f"{lost} is not given up: {error.sentence()}")
        except Aborted as error:
            self._record(LastAction(lost, error.run, at, done=False, aborted=error.saw))
            self._say(f"{lost} was not given up: {error.sentence()}")
        except DcctlError as error:
            self._record(LastAction(lost, getattr(error, "run", ""), at, done=False))
            self._say(f"{lost} was not given up: {error.sentence()}")
        else:
            self._record(LastAction(lost, run, at, done=True))
            self._say(f"{lost} was given up in run {run}")

    def _record(self, last: LastAction | None, begun: LastAction | None = None) -> None:
        """``begun``: only where that is what is kept; a person may have aborted what was there before."""
        try:
            if begun is None or self.automation.observe_last() == begun:
                self.automation.record_last(last)
        except Unreachable as error:
            self._say(f"what became of it is not kept: {error.sentence()}")

    def _say(self, sentence: str) -> None:
        if sentence != self._told:
            self._told = sentence
            self.tell(sentence)


@dataclass
class OwnClock:
    """``Vantages`` whose ages are judged by our own clock: how long each has said nothing new.

    Whoever publishes has a clock of its own, which may be wrong by more than a verdict takes.
    """

    vantages: Vantages
    now: Callable[[], datetime]
    _since: dict[str, tuple[tuple[int, datetime], datetime]] = field(default_factory=dict)

    def publish(self, observation: Observation) -> None:
        self.vantages.publish(observation)

    def withdraw(self) -> None:
        self.vantages.withdraw()

    def observe_vantages(self) -> tuple[Observation, ...]:
        found = self.vantages.observe_vantages()
        now = self.now()
        for each in found:
            stamp = (each.round, each.at)
            if each.vantage not in self._since:
                # Of what was there before we came nobody knows how old it is but its author.
                self._since[each.vantage] = (stamp, min(each.at, now))
            elif self._since[each.vantage][0] != stamp:
                self._since[each.vantage] = (stamp, now)
        return tuple(replace(each, at=self._since[each.vantage][1]) for each in found)


def certified(certificate: Certificate | None, lost: str, survivor: str, now: datetime) -> Capacity:
    """What was last found out about losing ``lost``, as the answer of ``decide_capacity`` that it was.

    Raises Unreachable where that was never found out, or too long ago to be relied on.
    """
    tried = f"read whether {survivor} can carry everything"
    command = "dcctl automation resume"
    if certificate is None:
        raise Unreachable(tried, saw="nobody has found it out yet", next_command=command)
    if now - certificate.at > CERTIFICATE_LASTS:
        days = (now - certificate.at).days
        raise Unreachable(tried, saw=f"it was found out {days} days ago", next_command=command)
    fit = Fit.FITS if certificate.fits else Fit.SHORT
    notes = [each.removeprefix(f"{survivor}: ") for each in certificate.reasons]
    lines = tuple(Line("", "", None, None, fit, (), note) for note in notes)
    return Capacity(lost, survivor, fit, lines, {})


def certify(capacity: Capacity, by: str, at: datetime) -> Certificate:
    """What is kept of ``capacity`` for the moment when nobody can find it out."""
    return Certificate(capacity.lost, capacity.fits, capacity.reasons, by, at)


def forget_abort(automations: Automations) -> LastAction | None:
    """The last automatic failover, which may be begun again by itself even if a person aborted it."""
    last = automations.observe_last()
    if last is None or not last.aborted:
        return last
    last = replace(last, aborted="")
    automations.record_last(last)
    return last


def change_automation(
    automations: Automations,
    *,
    by: str,
    at: datetime,
    reason: str,
    paused: bool | None = None,
    mode: Mode | None = None,
    as_configured: bool = False,
) -> Automation:
    """Say what is said about automatic action, and keep the rest as it was.

    Whoever lets it go on lets it begin again what a person aborted, too. Raises Refused when somebody else
    said something meanwhile.
    """
    now = automations.observe()
    wanted = Automation(
        paused=now.paused if paused is None else paused,
        mode=None if as_configured else mode or now.mode,
        reason=reason,
        by=by,
        at=at,
    )
    changed = automations.change(wanted, expected=now.version)
    if paused is False or (not changed.paused and changed.mode is Mode.AUTOMATIC):
        forget_abort(automations)
    return changed
