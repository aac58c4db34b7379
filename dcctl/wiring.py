"""The composition root: which adapter keeps which port, by what the configuration says."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from dcctl.config.schema import Configuration

if TYPE_CHECKING:
    from dcctl.adapters.journal import FileJournal
    from dcctl.adapters.state import KnownHostsFile, Observations
    from dcctl.ports import Clock


def journal(
    configuration: Configuration, *, what: str, clock: "Clock"
) -> "AbstractContextManager[FileJournal]":
    """A new run's journal; while entered, no other run of this environment is active on this machine.

    ``what`` is one word for the run's name. Raises Refused, which names the run that is active.
    """
    from dcctl.adapters.journal import start_run

    return start_run(
        configuration.state_directory, environment=configuration.environment, what=what, now=clock.now
    )


def known_hosts_path(configuration: Configuration) -> Path:
    """The file of trusted host keys, for programs that read it themselves (ssh, Ansible)."""
    return configuration.state_directory / "known_hosts"


def known_hosts(configuration: Configuration) -> "KnownHostsFile":
    from dcctl.adapters.state import KnownHostsFile

    return KnownHostsFile(known_hosts_path(configuration))


def observations(configuration: Configuration) -> "Observations":
    """What each site last showed."""
    from dcctl.adapters.state import Observations

    return Observations(configuration.state_directory / "observations")
