"""``dcctl leader`` where it needs nobody: what is refused at once, and where it would ask."""

import socket
from pathlib import Path

import pytest

from dcctl import wiring
from dcctl.cli.main import run
from dcctl.config.load import load

EXAMPLE = Path(__file__).parents[2] / "inventories" / "example" / "production"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["auction", "--", "/nowhere/at-all"], "no such program"),
        (["auction", "--session", "10", "--grace", "6", "--", "true"], "grace of 6 s does not fit"),
        (["auction", "--conninfo", "host=x password=secret-word", "--", "true"], "PGPASSWORD"),
        (["auction", "--conninfo", "not a conninfo", "--", "true"], "connection string"),
        (["auction", "--database", "--", "true"], "give --conninfo"),
        (["auction"], "Missing argument"),
        (["../auction", "--", "true"], "lower-case"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anybody_is_asked(
    argv: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["leader", "hold", "-e", "x", "--zookeeper", "192.0.2.1:2181", *argv]) == 2
    error = capfd.readouterr().err
    assert said in error
    assert "secret-word" not in error


def test_given_servers_need_the_environments_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["leader", "show", "--zookeeper", "192.0.2.1:2181"]) == 2
    assert "-e with the environment's name" in capfd.readouterr().err


def test_the_voter_on_this_machine_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = load(str(EXAMPLE))
    assert configuration.witness is not None
    monkeypatch.setattr(
        socket, "gethostname", lambda: str(configuration.witness and configuration.witness.name)
    )
    leases = wiring.leases(configuration, session_s=10.0)
    hosts = leases._session._hosts.split(",")
    assert hosts[0] == f"{configuration.witness.address}:2181"
    assert len(hosts) == len(set(hosts)) >= 3
