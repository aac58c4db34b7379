"""Pools in memory: who is held, and until when."""

from collections.abc import Callable, Mapping, Sequence

from dcctl.ports import Clock


class FakePools:
    """``ports.Pools`` of ``edges``; ``primary`` gives the database that is primary now.

    ``silent`` says of an edge why it does not answer.
    """

    def __init__(self, clock: Clock, edges: Sequence[str], primary: Callable[[], str]) -> None:
        self._clock = clock
        self._edges = tuple(edges)
        self._primary = primary
        self._held: dict[str, tuple[str, float]] = {}
        self.silent: dict[str, str] = {}
        self.asked: list[tuple[str, ...]] = []
        """What was asked for, in order; looks are not in it."""

    def observe(self, *, limit_s: float) -> Mapping[str, str]:  # noqa: ARG002
        return {edge: self.silent.get(edge, "") for edge in self._edges}

    def hold(self, old: str, new: str, *, for_s: float, limit_s: float) -> Mapping[str, str]:  # noqa: ARG002
        self.asked.append(("hold", old, new))
        for edge in self._edges:
            if edge not in self.silent:
                self._held[edge] = (new, self._clock.monotonic() + for_s)
        return {edge: self.silent.get(edge, "") for edge in self._edges}

    def let_go(self, *, limit_s: float) -> Mapping[str, str]:  # noqa: ARG002
        self.asked.append(("let go",))
        for edge in self._edges:
            if edge not in self.silent:
                self._held.pop(edge, None)
        return {edge: self.silent.get(edge, "") for edge in self._edges}

    def holds(self, edge: str) -> bool:
        """Whether a client of this edge waits now."""
        new, until_s = self._held.get(edge, ("", 0.0))
        return self._clock.monotonic() < until_s and self._primary() != new
