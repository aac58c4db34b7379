"""What Patroni is adapted in, with the control file of a real PostgreSQL."""

import json
import subprocess

import pytest
from postgres import BINARIES, Postgres, as_postgres, running_postgres

from dcctl import resources

PYTHON = "/usr/bin/python3"
LAUNCHER = resources.playbooks() / "roles" / "postgresql" / "files" / "patroni"

# Arguments: the launcher, and what pg_controldata says, as JSON.
ASK = """
import importlib.machinery, importlib.util, json, sys, types
loader = importlib.machinery.SourceFileLoader("launcher", sys.argv[1])
launcher = importlib.util.module_from_spec(importlib.util.spec_from_loader("launcher", loader))
loader.exec_module(launcher)
said = json.loads(sys.argv[2])
member = types.SimpleNamespace(_postgresql=types.SimpleNamespace(controldata=lambda: dict(said)))
print(json.dumps(launcher.Rewind._get_local_timeline_lsn_from_controldata(member)))
"""


@pytest.fixture(autouse=True)
def patroni_here() -> None:
    if subprocess.run([PYTHON, "-B", "-c", "import patroni"], check=False, capture_output=True).returncode:
        pytest.skip(f"Patroni is not installed for {PYTHON}; apt-get install patroni")


def control(server: Postgres) -> dict[str, str]:
    said = as_postgres([str(BINARIES / "pg_controldata"), str(server.folder / "data")])
    return {name: value.strip() for name, _, value in (line.partition(":") for line in said.splitlines())}


def local_end(said: dict[str, str]) -> tuple[bool, int, int]:
    argv = [PYTHON, "-B", "-c", ASK, str(LAUNCHER), json.dumps(said)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    in_recovery, timeline, lsn = json.loads(done.stdout)
    return in_recovery, timeline, lsn


def position(text: str) -> int:
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def test_a_former_primary_that_lost_its_power_stands_beyond_its_last_checkpoint() -> None:
    """Its successor's timeline begins where that checkpoint does: it has to be rewound."""
    with running_postgres() as server:
        server.query("create table one (n int)")
        server.stop("fast")
        fork = position(control(server)["Latest checkpoint location"])
        as_postgres(["touch", str(server.folder / "data" / "standby.signal")])
        server.start()
        server.stop("immediate")
        crashed = control(server)
        server.start()
        server.stop("fast")
        stopped = control(server)
    assert crashed["Database cluster state"] == "in archive recovery"
    assert position(crashed["Minimum recovery ending location"]) == fork
    in_recovery, timeline, lsn = local_end(crashed)
    assert (in_recovery, timeline) == (True, 1)
    assert fork < lsn < position(stopped["Minimum recovery ending location"])
    assert local_end(stopped)[2] == position(stopped["Minimum recovery ending location"])
