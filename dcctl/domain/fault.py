"""What a drill breaks, in words that its journal keeps and another process reads back."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The ways in which something is broken on purpose."""

    CUT = "cut"
    """A place, off the network with everything in it: a site's cloud API too."""
    ONE_WAY = "one-way"
    """What one place sends to another is lost; what it is sent arrives."""
    PAUSE = "pause"
    """A machine stands still, its network card too, and goes on later as if nothing had been."""
    KILL = "kill"
    """A ZooKeeper is killed and kept down; its machine goes on."""


@dataclass(frozen=True, slots=True)
class _Words:
    """How people speak of a kind: what is so, what is done to begin it, what is so and is done at its end."""

    sentence: str
    order: str
    after: str
    way_back: str


_WORDS = {
    Kind.CUT: _Words(
        "{target} is cut off the network with everything in it",
        "cut {target} off the network with everything in it",
        "{target} is back on the network",
        "heal {target}",
    ),
    Kind.ONE_WAY: _Words(
        "what {target} sends to {toward} is lost",
        "lose what {target} sends to {toward}",
        "what {target} sends to {toward} arrives",
        "let arrive what {target} sends to {toward}",
    ),
    Kind.PAUSE: _Words(
        "machine {target} stands still, its network card too",
        "pause machine {target}",
        "machine {target} goes on",
        "let machine {target} go on",
    ),
    Kind.KILL: _Words(
        "the ZooKeeper on {target} is killed and kept down",
        "kill the ZooKeeper on {target} and keep it down",
        "the ZooKeeper on {target} is started",
        "start the ZooKeeper on {target}",
    ),
}


@dataclass(frozen=True, slots=True)
class Breakage:
    """``target`` is a place (CUT, ONE_WAY) or a machine; ``toward`` is where ONE_WAY does not arrive."""

    kind: Kind
    target: str
    toward: str = ""

    def word(self) -> str:
        """What ``read_breakage`` reads back: no name has a blank in it."""
        return " ".join(each for each in (self.kind, self.target, self.toward) if each)

    def sentence(self) -> str:
        """What is so while it is in force, for people."""
        return self._told(_WORDS[self.kind].sentence)

    def order(self) -> str:
        """What is done to begin it, for people."""
        return self._told(_WORDS[self.kind].order)

    def after(self) -> str:
        """What is so once it is over, for people."""
        return self._told(_WORDS[self.kind].after)

    def way_back(self) -> str:
        """What is done to end it, for people."""
        return self._told(_WORDS[self.kind].way_back)

    def _told(self, words: str) -> str:
        return words.format(target=self.target, toward=self.toward)


def read_breakage(word: str) -> Breakage:
    """The breakage of that ``word``. ValueError for what is none."""
    kind, *names = word.split()
    if not 1 <= len(names) <= 1 + (kind == Kind.ONE_WAY):
        raise ValueError(f"{word!r} names no breakage")
    return Breakage(Kind(kind), *names)


@dataclass(frozen=True, slots=True)
class InForce:
    """A breakage that is in force; it ends by itself ``ends_in_s`` seconds after it was seen."""

    breakage: Breakage
    ends_in_s: float
