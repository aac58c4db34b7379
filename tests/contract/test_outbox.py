"""The outbox in a real PostgreSQL keeps what the one in memory keeps."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from dcctl.adapters.outbox import PostgresOutbox
from dcctl.cli.main import run
from dcctl.domain.observation import AtRisk
from dcctl.errors import Unreachable
from dcctl.ports import ChangeFeed
from dcctl.testing.documents import MemoryFeed, VirtualTime


class Outbox(ChangeFeed, Protocol):
    def begin(self, site: str, container: str, name: str) -> int: ...
    def done(self, number: int) -> None: ...


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """A server of its own on a socket in a folder of its own."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs or os.getuid() != 0:
        pytest.skip("needs root and PostgreSQL's server programs (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="dcctl-outbox-"))
    shutil.chown(folder, "postgres", "postgres")
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    control = [*as_postgres, str(programs[-1] / "pg_ctl"), "-D", str(folder / "data"), "-s", "-w"]
    try:
        subprocess.run(
            [*as_postgres, str(programs[-1] / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-N"],
            check=True,
            capture_output=True,
        )
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        subprocess.run(
            [*control, "-o", options, "-l", str(folder / "log"), "start"], check=True, capture_output=True
        )
        yield f"host={folder} user=postgres dbname=postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


class OutboxContract:
    def test_changes_come_in_order_and_once_settled_no_more(self, outbox: Outbox) -> None:
        numbers = [outbox.begin("east", "docs", name) for name in ("a", "b", "ü")]
        outbox.done(numbers[1])
        pending = outbox.pending(10)
        assert [one.name for one in pending] == ["a", "b", "ü"]
        assert [one.done is not None for one in pending] == [False, True, False]
        assert [one.number for one in outbox.pending(2)] == numbers[:2]
        outbox.settle(numbers[:2])
        outbox.settle(numbers[:2])
        assert [one.number for one in outbox.pending(10)] == numbers[2:]

    def test_times_are_aware(self, outbox: Outbox) -> None:
        outbox.done(outbox.begin("east", "docs", "a"))
        (one,) = outbox.pending(1)
        assert one.done is not None
        assert one.begun.tzinfo is not None
        assert one.begun <= one.done


class TestMemoryFeed(OutboxContract):
    @pytest.fixture
    def outbox(self) -> Outbox:
        return MemoryFeed(VirtualTime())


class TestPostgresOutbox(OutboxContract):
    @pytest.fixture
    def outbox(self, postgresql: str) -> Iterator[Outbox]:
        outbox = PostgresOutbox(postgresql)
        outbox.ensure_table()
        outbox.settle([one.number for one in outbox.pending(100)])
        yield outbox
        outbox.close()

    def test_what_is_at_one_site_only_is_counted(self, outbox: PostgresOutbox) -> None:
        intended = outbox.begin("east", "documents", "intended")
        assert outbox.at_risk() == AtRisk(0)  # what was only begun was acknowledged to nobody
        acknowledged = outbox.begin("east", "documents", "acknowledged")
        outbox.done(acknowledged)
        assert outbox.at_risk().count == 1
        assert outbox.at_risk().oldest_s > 0
        assert outbox.at_risk().by_site == {"east": 1}
        assert outbox.at_risk().names == (("east", "documents/acknowledged"),)
        outbox.settle([intended, acknowledged])
        assert outbox.at_risk() == AtRisk(0)


def test_a_database_that_is_away_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="outbox"):
        PostgresOutbox("host=/nonexistent dbname=x").pending(1)


CONFIGURATION = """
extends: {lab}
environment: outbox
network_namespace:
state_directory: .dcctl
replication:
  realm: r
  realm_key: file:key
  container_key: file:key
  containers: [docs]
  {outbox}
  stores:
    east: {{url: "http://127.0.0.1:1/v1/AUTH_x", plaintext: true}}
    west: {{url: "http://127.0.0.1:1/v1/AUTH_x", plaintext: true}}
"""


def _environment(folder: Path, outbox: str) -> str:
    lab = Path(__file__).parents[2] / "inventories/lab/dcctl.yaml"
    (folder / "key").write_text("k")
    (folder / "key").chmod(0o600)
    (folder / "dcctl.yaml").write_text(CONFIGURATION.format(lab=lab, outbox=outbox))
    return str(folder)


def test_report_names_what_has_not_arrived_without_any_cluster(
    postgresql: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outbox = PostgresOutbox(postgresql)
    outbox.ensure_table()
    outbox.settle([one.number for one in outbox.pending(100)])
    outbox.done(outbox.begin("east", "docs", "contract.pdf"))
    outbox.begin("west", "docs", "half.pdf")
    outbox.close()
    (tmp_path / "conninfo").write_text(postgresql)
    (tmp_path / "conninfo").chmod(0o600)
    environment = _environment(tmp_path, "outbox: file:conninfo")
    assert run(["-e", environment, "-o", "json", "replication", "report"]) == 0
    found = json.loads(capsys.readouterr().out)["documents"]
    assert [(one["site"], one["name"], one["acknowledged"] is not None) for one in found] == [
        ("east", "contract.pdf", True),
        ("west", "half.pdf", False),
    ]


def test_report_without_an_outbox_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-e", _environment(tmp_path, "outbox:"), "replication", "report"]) == 5
    assert "no replication.outbox is configured" in capsys.readouterr().err
