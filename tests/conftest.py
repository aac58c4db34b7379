"""What no test may inherit from the shell it is started in, and which tests keep together."""

import os
from pathlib import Path

import pytest

os.environ.pop("DCCTL_ENVIRONMENT", None)

LAB = Path(__file__).parent / "lab"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files side by side where pytest has several processes; the lab, of which a host has one, in one."""
    for item in items:
        group = "lab" if LAB in item.path.parents else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
