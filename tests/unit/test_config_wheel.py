"""The wheel carries what travels with dcctl, and nothing that git ignores (state, secrets, caches)."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAVELLING = ("playbooks", "templates", "drills", "lab", "inventories", "requirements", "procurement")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as an installation would have it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(folder / "dist"),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_has_what_git_has(installed: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout: what git ignores is not known")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *TRAVELLING],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    data = installed / "dcctl" / "_data"
    carried = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    assert carried == {name for name in listed if (ROOT / name).is_file()}


def test_an_installed_dcctl_finds_its_own_environments(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dcctl.cli.main", "-e", "lab", "config", "show"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed), "XDG_STATE_HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"state_directory: {tmp_path}/dcctl/lab/.dcctl\n" in done.stdout
