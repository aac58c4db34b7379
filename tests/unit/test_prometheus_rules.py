"""The alerts of the playbooks, tried on made-up nights by Prometheus' own tool."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dcctl import resources
from dcctl.lab.disk import CURRENT

RULES = resources.playbooks() / "roles" / "prometheus" / "files" / "dcctl.rules.yml"
NIGHTS = Path(__file__).parent / "cases" / "prometheus" / "dcctl.test.yml"


@pytest.fixture
def promtool() -> str:
    """This host's, or the golden image's."""
    image = str(CURRENT / "stack" / "usr" / "bin")
    found = shutil.which("promtool", path=os.pathsep.join([os.environ["PATH"], image]))
    if found is None:
        pytest.skip("promtool is neither installed (apt-get install prometheus) nor in a golden image here")
    return found


def test_each_alert_comes_when_it_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    for file in (RULES, NIGHTS):
        shutil.copy(file, tmp_path)
    done = subprocess.run(
        [promtool, "test", "rules", NIGHTS.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
