"""The dynamic inventory, judged by Ansible itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dcctl.domain.inventory import Login, Member, decide_inventory, zookeeper_ids
from dcctl.domain.machine import LastSeen, Power, Server
from dcctl.testing.clock import EPOCH

MEMBERS = (
    Member("east-db-1", "east", "db", "192.0.2.20", ("base", "zookeeper", "postgresql")),
    Member("east-big-edge-1", "east", "big-edge", "192.0.2.21", ("base", "edge")),
    Member("west-db-1", "west", "db", "198.51.100.20", ("base", "zookeeper", "postgresql")),
    Member("witness-1", "witness", "", "203.0.113.10", ("base", "zookeeper")),
)
LOGIN = Login("dcctl", 22, "/keys/id", "/state dir/known_hosts")
SEEN = LastSeen(
    "east",
    EPOCH,
    (Server("1", "east-db-1", "east", "lab", Power.OFF, "SHUTOFF", "h", "192.0.2.20", None, "k"),),
)


@pytest.fixture
def inventory() -> dict[str, Any]:
    return decide_inventory("lab", MEMBERS, LOGIN, {"east": SEEN})


def test_groups_are_by_site_role_and_machine_group(inventory: dict[str, Any]) -> None:
    assert {name: group["hosts"] for name, group in inventory.items() if "hosts" in group} == {
        "group_big_edge": ["east-big-edge-1"],
        "group_db": ["east-db-1", "west-db-1"],
        "role_base": ["east-db-1", "east-big-edge-1", "west-db-1", "witness-1"],
        "role_edge": ["east-big-edge-1"],
        "role_postgresql": ["east-db-1", "west-db-1"],
        "role_zookeeper": ["east-db-1", "west-db-1", "witness-1"],
        "site_east": ["east-db-1", "east-big-edge-1"],
        "site_west": ["west-db-1"],
        "site_witness": ["witness-1"],
    }


def test_a_machine_is_reached_as_itself_only(inventory: dict[str, Any]) -> None:
    variables = inventory["_meta"]["hostvars"]["east-db-1"]
    assert variables["ansible_host"] == "192.0.2.20"
    assert variables["ansible_user"] == "dcctl"
    assert variables["ansible_ssh_private_key_file"] == "/keys/id"
    assert "StrictHostKeyChecking=yes" in variables["ansible_ssh_common_args"]
    assert variables["dcctl_site"] == "east"
    assert variables["zookeeper_id"] == 11


def test_what_was_seen_last_is_said_with_its_time(inventory: dict[str, Any]) -> None:
    hosts = inventory["_meta"]["hostvars"]
    assert hosts["east-db-1"]["dcctl_last_seen"] == {"at": "2026-01-01T00:00:00+00:00", "power": "off"}
    assert hosts["east-big-edge-1"]["dcctl_last_seen"]["power"] == "absent"
    assert "dcctl_last_seen" not in hosts["west-db-1"]


def test_a_voter_keeps_its_number_when_others_come() -> None:
    before = zookeeper_ids(MEMBERS)
    assert before == {"east-db-1": 11, "west-db-1": 21, "witness-1": 31}
    second = Member("east-db-2", "east", "db", "192.0.2.22", ("base", "zookeeper"))
    after = zookeeper_ids((MEMBERS[0], second, *MEMBERS[1:]))
    assert after == {**before, "east-db-2": 12}


def test_ansible_reads_it(tmp_path: Path, inventory: dict[str, Any]) -> None:
    program = shutil.which("ansible-inventory", path=str(Path(sys.executable).parent))
    assert program is not None
    script = tmp_path / "inventory"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(inventory)}\nEND\n")
    script.chmod(0o755)

    def ask(*arguments: str) -> Any:
        done = subprocess.run(
            [program, "-i", script, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "HOME": str(tmp_path), "ANSIBLE_LOCALHOST_WARNING": "false"},
        )
        assert "WARNING" not in done.stderr
        return json.loads(done.stdout)

    listed = ask("--list")
    assert listed["role_zookeeper"]["hosts"] == ["east-db-1", "west-db-1", "witness-1"]
    assert listed["zookeeper"]["children"] == ["role_zookeeper"]
    assert listed["_meta"]["hostvars"]["witness-1"]["dcctl_environment"] == "lab"
    assert ask("--host", "witness-1")["zookeeper_id"] == 31
