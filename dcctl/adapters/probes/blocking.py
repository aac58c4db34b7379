"""What has no asynchronous library: each call in a thread of its own, which is left behind when it hangs.

The next call of the same name is not begun before the last has ended, so a cloud API that hangs for a day
costs one thread and not one per round.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from dcctl.adapters.probes.round import Outcome, Prober
from dcctl.domain.probe import CloudCheck
from dcctl.errors import TimedOut

T = TypeVar("T")


class Blocking:
    """The calls that are under way, by name."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    async def call(self, name: str, function: Callable[[], T]) -> T:
        """What ``function`` returns or raises. TimedOut at once while the last call of ``name`` hangs."""
        with self._lock:
            if name in self._since:
                hangs_s = time.monotonic() - self._since[name]
                raise TimedOut("ask", on=name, saw=f"a call of {hangs_s:.0f} s ago has not ended yet")
            self._since[name] = time.monotonic()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # one of the two is given

        def work() -> None:
            result, failed = None, None
            try:
                result = function()
            except BaseException as error:  # raised again where it is awaited
                failed = error
            with self._lock:
                del self._since[name]
            with contextlib.suppress(RuntimeError):  # the round is over, and its loop closed
                loop.call_soon_threadsafe(settle, result, failed)

        threading.Thread(target=work, name=f"probe {name}", daemon=True).start()
        return await future


def probe_cloud(blocking: Blocking, ask: Callable[[str], str]) -> Prober:
    """``ask`` makes an authenticated call to a site's cloud and says what it saw."""

    async def probe(check: CloudCheck) -> Outcome:
        return Outcome(ok=True, saw=await blocking.call(f"cloud {check.site}", lambda: ask(check.site)))

    return probe
