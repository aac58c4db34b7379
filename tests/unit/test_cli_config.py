"""``dcctl init``, ``schema``, ``config check`` and ``config show``, as typed."""

import json
from pathlib import Path

import jsonschema
import pytest

from dcctl.cli.main import run
from dcctl.config.load import load_file

GOOD = Path(__file__).parent / "cases" / "config" / "good.yaml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DCCTL_ENVIRONMENT", raising=False)
    return tmp_path


def test_init_writes_a_valid_start(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "inventories/acceptance"]) == 0
    written = here / "inventories" / "acceptance" / "dcctl.yaml"
    assert load_file(written).environment == "acceptance"
    assert written.read_text().count("#") > 30
    shown = "inventories/acceptance/dcctl.yaml"
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {shown}",
        f"next: $EDITOR {shown} && dcctl -e {shown} config check",
    ]
    assert run(["-e", "acceptance", "config", "check"]) == 0


def test_init_names_the_environment(here: Path) -> None:
    assert run(["init", "--name", "site-two"]) == 0
    assert load_file(here / "dcctl.yaml").environment == "site-two"
    assert run(["init", "9 Odd Folder"]) == 0
    assert load_file(here / "9 Odd Folder" / "dcctl.yaml").environment == "production"


def test_init_never_overwrites(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "dcctl.yaml").write_text("mine")
    assert run(["init"]) == 5
    assert (here / "dcctl.yaml").read_text() == "mine"
    assert "there is one already" in capsys.readouterr().err


def test_init_refuses_a_wrong_name_before_it_writes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--name", "Wrong Name"]) == 2
    assert run(["init", "--name", "a" * 31]) == 2
    assert list(here.iterdir()) == []
    assert "lower-case letters and digits" in capsys.readouterr().err


def test_init_where_nothing_can_be_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").write_text("")
    assert run(["init", "file/below"]) == 2
    assert "Not a directory" in capsys.readouterr().err


def test_check_says_what_is_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "dcctl.yaml").write_text(GOOD.read_text())
    assert run(["config", "check"]) == 0
    assert capsys.readouterr().out == (
        "dcctl.yaml is valid: environment good, east (openstack) and west (vmware), 5 machines\n"
    )
    assert run(["config", "check", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": "dcctl.yaml",
        "environment": "good",
        "valid": True,
        "machines": 5,
        "secrets_read": None,
    }


def test_check_reports_every_problem(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.read_text().replace("60s", "60").replace("count: 1", "cuont: 1")
    (here / "dcctl.yaml").write_text(text)
    assert run(["config", "check"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("error: the configuration has 5 problems\n  dcctl.yaml:32:")
    assert said.endswith("next: $EDITOR dcctl.yaml\n")


def test_check_reads_every_secret_and_prints_none(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "dcctl.yaml").write_text(GOOD.read_text())
    assert run(["config", "check", "--secrets"]) == 3
    said = capsys.readouterr().err
    assert "the configuration has 7 problems" in said
    assert "  sites.west.password: env:VCENTER_PASSWORD: the variable is not set" in said
    for name in (
        "VCENTER_PASSWORD",
        "POSTGRESQL_SUPERUSER",
        "POSTGRESQL_REPLICATION",
        "POSTGRESQL_APP",
        "PATRONI_API",
    ):
        monkeypatch.setenv(name, "hunter2")
    for file in ("id_ed25519", "witness.pub"):
        (here / file).write_text("key")
        (here / file).chmod(0o600)
    assert run(["config", "check", "--secrets"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("all 7 secrets can be read\n")
    assert "hunter2" not in said


def test_show_prints_what_is_inherited_and_implied(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "base.yaml").write_text(GOOD.read_text())
    (here / "dcctl.yaml").write_text("extends: base.yaml\nenvironment: shown\n")
    assert run(["config", "show"]) == 0
    text = capsys.readouterr().out
    assert "environment: shown\n" in text
    assert "password: env:VCENTER_PASSWORD" in text
    assert "east-edge-1  east     198.51.100.21  base edge" in text
    assert run(["config", "show", "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["configuration"]["automation"] == {"mode": "manual"}
    assert document["machines"][-1] == {
        "name": "witness-1",
        "place": "witness",
        "address": "192.0.2.10",
        "roles": ["base", "zookeeper"],
    }


@pytest.mark.parametrize("output", ["text", "json"])
def test_schema_is_a_json_schema(here: Path, capsys: pytest.CaptureFixture[str], output: str) -> None:
    assert run(["-o", output, "schema"]) == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))
