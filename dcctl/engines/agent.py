"""An agent's loops: steering its edge after what is wanted of the sites, feeling each site's pulse, and
watching everything that they serve.

Each is a generator that yields how many seconds it would wait and receives the moment then. They are
driven side by side, so that a slow probe delays no weight; what they share is replaced, never changed.

Invariants:

1. An edge is only ever steered towards states that were read from the ensemble, the last known while it
   does not answer; an agent that never knew them changes no weight.
2. A site's writes are shut before its lease is over, by the agent's own clock, and opened again only while
   it is held: whatever the ensemble has decided meanwhile, this site acknowledges nothing beside it.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from dcctl.domain.leadership import Epoch
from dcctl.domain.probe import Health, ProbeResult
from dcctl.domain.refusal import Refusal
from dcctl.domain.traffic import (
    ROTATION,
    EdgeApplied,
    Observation,
    SiteState,
    Steer,
    decide_applied,
    decide_fence,
    decide_weights,
    why_barred,
)
from dcctl.domain.verdict import (
    WITNESS,
    Evidence,
    SiteVerdict,
    Vantage,
    decide_sight,
    decide_vantage,
    decide_verdict,
)
from dcctl.errors import DcctlError, Unreachable
from dcctl.ports import EdgeRuntime, Sites, Vantages

STEER_EVERY_S = 0.5
PULSE_EVERY_S = 1.0
"""From the beginning of one round of quick probes to the next."""
PULSE_PAUSE_S = 0.1
GUARD_EVERY_S = 0.5
LOOK_AGAIN_ROUNDS = 10
"""An edge that an earlier life of ours left shut is opened within so many rounds."""
WATCH_EVERY_S = 2.0
CONTEND_AFTER_S = 15.0
"""A site's agent contends for the controller's role when the witness has published nothing for so long."""
SUPERSEDED_AFTER_S = 60.0
"""The witness's agent takes the controller's role back when it has been there for so long."""


@dataclass(frozen=True, slots=True)
class Moment:
    """``now_s`` by the clock that leases are judged by, ``at`` in UTC."""

    now_s: float
    at: datetime


Loop: TypeAlias = Generator[float, Moment, None]


@dataclass
class Progress:
    """How a loop is doing: rounds that ended, when the last one did, and how late it had begun."""

    rounds: int = 0
    ended_s: float | None = None
    late_s: float = 0.0


@dataclass
class Agent:
    """One vantage. ``edge`` is None where it stands beside none (the witness).

    ``probe`` makes one round of probes, each within its time limit; ``feel`` a round of those alone that
    say at once whether anything of a site answers.
    """

    vantage: str
    place: str
    places: Mapping[str, str]
    sites: Sites
    vantages: Vantages
    edge: EdgeRuntime | None
    probe: Callable[[], tuple[ProbeResult, ...]]
    feel: Callable[[], tuple[ProbeResult, ...]] = tuple
    lease_left_s: Callable[[], float] = lambda: float("inf")
    """Until this site must be fenced (``domain.agent.lease_left_s``)."""
    ask_epochs: Callable[[], Mapping[str, Epoch]] = dict
    """The epoch of each role, as the ensemble has it."""
    epochs: Mapping[str, Epoch] = field(default_factory=dict)
    """What it last said of them: shown beside the edge, and acted upon by nobody here."""
    states: tuple[SiteState, ...] = ()
    """What the ensemble last said."""
    applied: EdgeApplied | None = None
    results: tuple[ProbeResult, ...] = ()
    felt: tuple[ProbeResult, ...] = ()
    unreached: str = ""
    """Why the ensemble could not be asked, the last time; empty is well."""
    steering: Progress = field(default_factory=Progress)
    watching: Progress = field(default_factory=Progress)
    pulsing: Progress = field(default_factory=Progress)
    unfenced: str = ""
    """Why the edge could not be shut or opened, the last time."""
    guarding: Progress = field(default_factory=Progress)
    fenced_at_s: float | None = None
    """Since when this site is fenced."""
    verdicts: tuple[SiteVerdict, ...] = ()
    """What each site is, as seen from here."""
    witness_seen: bool = False
    """Whether the witness publishes."""
    witness_since_s: float = 0.0
    """Since when that is so; without a quorum nothing is."""
    judged_s: float = 0.0
    """When the vantages were read last, or could not be."""

    def steer(self) -> Loop:
        """Bring the edge to what is wanted, again and again."""
        moment = yield 0.0
        while True:
            before = self.applied
            self.applied = self._apply()
            if self.applied != before:
                self._publish(moment.at)
            moment = yield from _until_next(self.steering, STEER_EVERY_S)

    def watch(self) -> Loop:
        """Probe every site and publish what was seen, again and again."""
        moment = yield 0.0
        while True:
            self.results = self.probe()
            moment = yield 0.0
            self._publish(moment.at)
            self._read_epochs()
            yield from _until_next(self.watching, WATCH_EVERY_S)

    def pulse(self) -> Loop:
        """Ask each site for a sign of life and publish at once what came, every second."""
        moment = yield 0.0
        while True:
            began_s = moment.now_s
            self.felt = self.feel()
            moment = yield 0.0
            self._publish(moment.at)
            self._judge(moment.now_s)
            ended = yield 0.0
            self.pulsing.rounds += 1
            self.pulsing.ended_s = ended.now_s
            pause_s = max(PULSE_PAUSE_S, began_s + PULSE_EVERY_S - ended.now_s)
            moment = yield pause_s
            self.pulsing.late_s = max(0.0, moment.now_s - ended.now_s - pause_s)

    def is_eligible(self) -> bool:
        """Whether this place is to contend for the controller's role: the witness is, which the loss of no
        site takes along, and a site's agent when the witness has not been there for a while. One at a site
        that is quarantined does not contend."""
        if why_barred(self.place, self.states):
            return False
        missing_s = 0.0 if self.witness_seen else self.judged_s - self.witness_since_s
        return self.place == WITNESS or missing_s > CONTEND_AFTER_S

    def is_superseded(self) -> bool:
        """Whether the witness is back, and has been for a while: a failover under way ends sooner."""
        there_s = self.judged_s - self.witness_since_s if self.witness_seen else 0.0
        return self.place != WITNESS and there_s > SUPERSEDED_AFTER_S

    def leave(self) -> None:
        """Nothing of this vantage is left in the ensemble; where that cannot be said, its session ends it."""
        self.vantages.withdraw()

    def _publish(self, at: datetime) -> None:
        observation = Observation(
            self.vantage, self.place, at, self.watching.rounds + 1, self.results, self.applied, self.felt
        )
        try:
            self.vantages.publish(observation)
        except Unreachable as error:
            self.unreached = error.sentence()

    def _judge(self, now_s: float) -> None:
        """What each site is, as seen from here; and since when the witness is there."""
        try:
            seen, quorum = self.vantages.observe_vantages(), True
        except Unreachable as error:
            self.unreached = error.sentence()
            seen, quorum = (), False
        at = max((each.at for each in seen if each.vantage == self.vantage), default=None)
        sites = [state.site for state in self.states]
        worth = tuple(decide_vantage(each, sites, at) for each in seen) if at is not None else ()
        witness = any(each.place == WITNESS and each.fresh for each in worth)
        if not worth or witness != self.witness_seen:
            self.witness_since_s = now_s
        self.witness_seen, self.judged_s = witness, now_s
        self.verdicts = tuple(decide_verdict(self._evidence(site, worth, quorum=quorum)) for site in sites)

    def _evidence(self, site: str, worth: tuple[Vantage, ...], *, quorum: bool) -> Evidence:
        right = [each for each in self.felt if each.site == site and each.ok]
        return Evidence(
            site=site,
            place=self.place,
            own=decide_sight(self.felt, site),
            vantages=worth,
            quorum=quorum,
            answers=tuple(dict.fromkeys(each.target for each in right)),
            voters=tuple(each.target for each in right if each.kind == "zookeeper"),
            troubles=tuple(
                f"{each.name}: {each.saw}"
                for each in self.felt
                if each.site == site and each.ok is False and each.health is Health.DOWN
            ),
        )

    def _apply(self) -> EdgeApplied | None:
        self._read_states()
        if self.edge is None or not self.states:
            return None
        try:
            problem = self._steer_to(self.states, self.edge)
            servers = self.edge.observe_servers()
        except Unreachable as error:
            return EdgeApplied({state.site: None for state in self.states}, error.sentence())
        rotation = decide_applied(self.states, servers, self.places)
        return EdgeApplied(rotation, problem)

    def guard(self) -> Loop:
        """Shut this site's writes where its lease is over and open them where it is held. Asks the ensemble
        nothing, so that nobody's silence delays it."""
        moment = yield 0.0
        while True:
            fenced = self.lease_left_s() <= 0
            if fenced or self.fenced_at_s is not None or self.guarding.rounds % LOOK_AGAIN_ROUNDS == 0:
                self._shut(fenced=fenced)
            self.fenced_at_s = (self.fenced_at_s or moment.now_s) if fenced else None
            moment = yield from _until_next(self.guarding, GUARD_EVERY_S)

    def _shut(self, *, fenced: bool) -> None:
        """An edge that does not answer is asked again in the next round."""
        if self.edge is None:
            return
        try:
            for each in decide_fence(self.edge.observe_servers(), fenced=fenced):
                self.edge.steer(each.backend, each.server, in_rotation=each.in_rotation, at_once=each.at_once)
        except DcctlError as error:
            self.unfenced = error.sentence()
        else:
            self.unfenced = ""

    def fence(self) -> str:
        """Why and how this site is fenced, and what proves it of its database; empty while it is not."""
        if self.fenced_at_s is None:
            return ""
        said = [f"{each.target}: {each.saw}" for each in self.felt if self._is_own_database(each)]
        edge = (
            f"its edge could not be shut: {self.unfenced}" if self.unfenced else "its edge's writes are shut"
        )
        proof = "; ".join(said) or "no database is here"
        return f"{self.place} is fenced: its lease has run out; {edge} ({proof})"

    def _is_own_database(self, result: ProbeResult) -> bool:
        return result.site == self.place and result.kind == "patroni"

    def _read_epochs(self) -> None:
        with suppress(DcctlError):
            self.epochs = self.ask_epochs()

    def _read_states(self) -> bool:
        """Whether the ensemble answered."""
        try:
            self.states = self.sites.observe_sites()
        except Unreachable as error:
            self.unreached = error.sentence()
            return False
        self.unreached = ""
        return True

    def _steer_to(self, states: tuple[SiteState, ...], edge: EdgeRuntime) -> str:
        """Make every change that is due; why the edge is not as wanted then, or nothing."""
        decided = decide_weights(states, edge.observe_servers(), self.places)
        if isinstance(decided, Refusal):
            return "; ".join(decided.reasons)
        if self.lease_left_s() <= 0:
            decided = tuple(each for each in decided if each.backend != ROTATION)
        refused: list[str] = []
        for each in decided:
            # An effect here cannot be fenced: what is wanted is read again just before it.
            if self._read_states() and self.states != states:
                return "what is wanted has just changed"
            self._one(edge, each, refused)
        if refused:
            return refused[0]
        left = decide_weights(states, edge.observe_servers(), self.places) if decided else ()
        if isinstance(left, Refusal) or not left:
            return ""
        return f"{left[0].backend}/{left[0].server} did not follow its command"

    def _one(self, edge: EdgeRuntime, steer: Steer, refused: list[str]) -> None:
        try:
            edge.steer(steer.backend, steer.server, in_rotation=steer.in_rotation)
        except DcctlError as error:
            refused.append(error.sentence())


def _until_next(progress: Progress, every_s: float) -> Generator[float, Moment, Moment]:
    """The round ends; wait for the next, and see how late it begins."""
    ended = yield 0.0
    progress.rounds += 1
    progress.ended_s = ended.now_s
    moment = yield every_s
    progress.late_s = max(0.0, moment.now_s - ended.now_s - every_s)
    return moment
