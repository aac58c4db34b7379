"""What no test may inherit from the shell it is started in, and what a host must be able to do."""

import os
import signal

import pytest

from dcctl.lab import host

os.environ.pop("DCCTL_ENVIRONMENT", None)
# A shell starts what it puts in the background with Ctrl-C ignored, and so would all that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def capable_host() -> None:
    """Skips with the sentence that an operator would read."""
    if reasons := host.obstacles():
        pytest.skip(f"this host cannot run the lab: {'; '.join(reasons)}")
