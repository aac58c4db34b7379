"""A deploy goes site by site under clients that see no error, and a broken one goes back."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from clients import asking
from stack import Stack, joined, opened

from dcctl.lab import operator
from dcctl.lab.process import run

pytestmark = pytest.mark.lab

EAST, WEST = "198.18.1.21", "198.18.2.21"
APPLICATIONS = ("east-app-1", "west-app-1")
ENVIRONMENT = "sudo cat /etc/procurement/environment"


@pytest.fixture(scope="module")
def stack(whole_stack: Path) -> Iterator[Stack]:
    with joined("dcctl-operator"), opened(whole_stack) as found:
        yield found


def on(machine: str, command: str) -> str:
    return run(operator.ssh(operator.find(machine), (command,))).strip()


def rotation(stack: Stack) -> dict[str, str]:
    sites = json.loads(stack.dcctl("status", "-o", "json"))["sites"]
    return {each["name"]: each["rotation"] for each in sites}


def test_a_broken_version_goes_back_and_a_good_one_rolls_out_without_an_error(
    stack: Stack, tmp_path: Path
) -> None:
    before = {name: on(name, ENVIRONMENT) for name in APPLICATIONS}
    with asking(stack, (EAST, WEST)) as clients:
        broken = changed(stack, tmp_path / "broken", "procurement_swift_user: documents:nobody")
        said = deploying(broken, expect=6)
        assert "was brought back to what was accepted before, and is in rotation" in said
        assert {name: on(name, ENVIRONMENT) for name in APPLICATIONS} == before
        assert rotation(stack) == {"east": "active", "west": "active"}

        good = changed(stack, tmp_path / "good", "procurement_round_s: 5")
        said = deploying(good)
        assert said.count("to have it out of rotation") == len(APPLICATIONS)
        assert all("PROCUREMENT_ROUND_S=5" in on(name, ENVIRONMENT) for name in APPLICATIONS)
        assert rotation(stack) == {"east": "active", "west": "active"}
        assert "out of rotation" not in deploying(good), "nothing is taken out for nothing"
    assert clients.errors() == []


def changed(stack: Stack, folder: Path, variable: str) -> Path:
    """The same environment, in which one variable of the application is another."""
    document = yaml.safe_load((stack.folder / "dcctl.yaml").read_text())
    document["state_directory"] = str((stack.folder / document["state_directory"]).resolve())
    shutil.copytree(stack.folder / "group_vars", folder / "group_vars")
    (folder / "group_vars" / "group_app.yml").write_text(f"{variable}\n")
    (folder / "dcctl.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


def deploying(folder: Path, *, expect: int = 0) -> str:
    """A deploy of the application, and what it says on the way."""
    argv = [sys.executable, "-m", "dcctl.cli.main", "-e", str(folder), "deploy", "procurement"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == expect, f"it ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stderr
