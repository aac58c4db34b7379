"""What happened in a simulation, as its checkers read it, and its timeline for people."""

from dataclasses import dataclass, field

from dcctl.testing.simulation.database import Outcome


@dataclass(frozen=True, slots=True)
class Write:
    """A client's write. ``named``: a synchronous standby was named when it was answered."""

    number: int
    began_s: float
    ended_s: float
    outcome: Outcome
    site: str
    timeline: int


@dataclass(frozen=True, slots=True)
class Work:
    """A singleton's transaction that was acknowledged, or an act that no store checks (``stored`` False)."""

    role: str
    epoch: int
    began_s: float
    ended_s: float
    site: str
    stored: bool


@dataclass(slots=True)
class RunRecord:
    """A run's life: ``ended`` is how, or empty while nobody knows."""

    run: str
    words: str
    who: str
    began_s: float
    ended_s: float | None = None
    ended: str = ""
    saw: str = ""


@dataclass
class History:
    """Everything that is judged. ``breaches`` were seen the moment they happened."""

    writes: list[Write] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    breaches: list[tuple[float, str]] = field(default_factory=list)
    timeline: list[tuple[float, str]] = field(default_factory=list)

    def tell(self, at_s: float, sentence: str) -> None:
        self.timeline.append((at_s, sentence))

    def breach(self, at_s: float, sentence: str) -> None:
        self.breaches.append((at_s, sentence))
        self.tell(at_s, f"BREACH: {sentence}")
