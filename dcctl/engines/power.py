"""The machines of a site that is given up, off through its cloud: tried for all, proven or not for each."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial

from dcctl.domain.machine import Power, decide_power_off_proven
from dcctl.engines.status import Ask
from dcctl.errors import DcctlError
from dcctl.ports import Machines


def power_off(
    names: Sequence[str],
    cloud: Callable[[], AbstractContextManager[Machines]],
    *,
    look: Callable[[], object],
    look_within: Ask,
    ask: Ask,
    now: Callable[[], datetime],
) -> dict[str, tuple[str, ...]]:
    """Each of ``names`` off, the hard way, and why that is not proven: empty where it is.

    It takes as long as ``ask`` waits; whoever has not answered by then is not proven to be off.
    ``cloud`` begins a session: one for each machine, since what one's call waits for holds up no other.
    Before that the cloud is asked once, by ``look``, and what that raises is raised: whom it refuses must not
    be refused as often as there are machines.
    """
    answer = look_within({"cloud": look})["cloud"]
    if isinstance(answer, DcctlError):
        raise answer
    answers = ask({name: partial(_off, name, cloud, now) for name in names})
    return {
        name: (answer.saw or answer.sentence(),) if isinstance(answer, DcctlError) else answer
        for name, answer in answers.items()
    }


def _off(
    name: str, cloud: Callable[[], AbstractContextManager[Machines]], now: Callable[[], datetime]
) -> tuple[str, ...]:
    with cloud() as machines:
        requested_at = now()
        reading = machines.ensure_power(name, Power.OFF)
    return decide_power_off_proven(reading, requested_at=requested_at)
