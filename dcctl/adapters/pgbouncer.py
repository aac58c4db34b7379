"""``ports.Pools``: PgBouncer on the edges, held by a program of theirs over SSH.

The program is playbooks/roles/edge/files/pool. On the edge a unit of its own holds, and lets go however it
ends: neither our death nor a lost connection holds a client for longer than was asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from dcctl.errors import DcctlError
from dcctl.ports import Remote

PROGRAM = ("sudo", "-n", "/usr/local/lib/dcctl/pool")


class PgBouncerPools:
    """``remotes`` by edge; ``addresses`` of the databases by name."""

    def __init__(self, remotes: Mapping[str, Callable[[], Remote]], addresses: Mapping[str, str]) -> None:
        self._remotes = dict(remotes)
        self._addresses = dict(addresses)

    def observe(self, *, limit_s: float) -> Mapping[str, str]:
        return self._everywhere(("look",), limit_s)

    def hold(self, old: str, new: str, *, for_s: float, limit_s: float) -> Mapping[str, str]:
        return self._everywhere(("hold", f"{for_s:g}", old, new, self._addresses[new]), limit_s)

    def let_go(self, *, limit_s: float) -> Mapping[str, str]:
        return self._everywhere(("let-go",), limit_s)

    def _everywhere(self, words: Sequence[str], limit_s: float) -> dict[str, str]:
        """At every edge at once: a dark one holds up no other."""

        def one(edge: str) -> str:
            try:
                status, _out, err = self._remotes[edge]().run((*PROGRAM, *words), limit_s=limit_s)
            except DcctlError as error:
                return error.saw or error.sentence()
            return "" if status == 0 else (err.strip().splitlines() or [f"it ended with {status}"])[-1]

        if not self._remotes:
            return {}
        with ThreadPoolExecutor(len(self._remotes)) as threads:
            return dict(zip(self._remotes, threads.map(one, self._remotes), strict=True))
