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
        match self.kind:
            case Kind.CUT:
                return f"{self.target} is cut off the network with everything in it"
            case Kind.ONE_WAY:
                return f"what {self.target} sends to {self.toward} is lost"
            case Kind.PAUSE:
                return f"machine {self.target} stands still, its network card too"
            case Kind.KILL:
                return f"the ZooKeeper on {self.target} is killed and kept down"

    def order(self) -> str:
        """What is done to begin it, for people."""
        match self.kind:
            case Kind.CUT:
                return f"cut {self.target} off the network with everything in it"
            case Kind.ONE_WAY:
                return f"lose what {self.target} sends to {self.toward}"
            case Kind.PAUSE:
                return f"pause machine {self.target}"
            case Kind.KILL:
                return f"kill the ZooKeeper on {self.target} and keep it down"

    def after(self) -> str:
        """What is so once it is over, for people."""
        match self.kind:
            case Kind.CUT:
                return f"{self.target} is back on the network"
            case Kind.ONE_WAY:
                return f"what {self.target} sends to {self.toward} arrives"
            case Kind.PAUSE:
                return f"machine {self.target} goes on"
            case Kind.KILL:
                return f"the ZooKeeper on {self.target} is started"

    def way_back(self) -> str:
        """What is done to end it, for people."""
        match self.kind:
            case Kind.CUT:
                return f"heal {self.target}"
            case Kind.ONE_WAY:
                return f"let arrive what {self.target} sends to {self.toward}"
            case Kind.PAUSE:
                return f"let machine {self.target} go on"
            case Kind.KILL:
                return f"start the ZooKeeper on {self.target}"


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
