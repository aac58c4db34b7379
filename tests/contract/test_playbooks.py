"""``ports.Playbooks`` in memory, and with ansible-runner on this machine."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcctl.adapters.ansible import AnsiblePlaybooks
from dcctl.adapters.workspace import workspace
from dcctl.domain.deploy import Deployment, Target
from dcctl.errors import Interrupted, Rejected, TimedOut
from dcctl.ports import Playbooks
from dcctl.testing.contracts.playbooks import MACHINES, ROLES, PlaybooksContract
from dcctl.testing.deploy import FakeEstate, FakePlaybooks

PLAYBOOK = """
- name: Configure
  hosts: all
  gather_facts: false
  roles:
    - {role: base, tags: [base]}
    - {role: zookeeper, tags: [zookeeper]}
"""
TASKS = """
- name: Configure
  ansible.builtin.copy:
    content: "configured"
    dest: "{{ folder }}/%(role)s"
    mode: "0644"
  when: broken_%(role)s is not defined
- name: Fail
  ansible.builtin.command:
    argv: [sh, -c, "echo {{ broken_%(role)s }} >&2; exit 3"]
  when: broken_%(role)s is defined
"""
SECRET = "s3cret '\"\\ {{ x }} %s #: $x`y`"


class FakeWorld:
    """Machines in memory."""

    def __init__(self) -> None:
        targets = tuple(Target(name, name.partition("-")[0], "192.0.2.1", ROLES) for name in MACHINES)
        self._estate = FakeEstate(targets)
        self.playbooks: Playbooks = FakePlaybooks(self._estate)

    def fail(self, machine: str, role: str, message: str) -> None:
        self._estate.failing[machine, role] = message

    def darken(self, machine: str) -> None:
        self._estate.dark[machine] = "no route to host"


class LocalWorld:
    """Ansible, whose machines are folders of this one."""

    def __init__(self, folder: Path, ours: Path) -> None:
        self.site = folder / "playbooks"
        for role in ROLES:
            (self.site / "roles" / role / "tasks").mkdir(parents=True)
            (self.site / "roles" / role / "tasks" / "main.yml").write_text(TASKS % {"role": role})
        (self.site / "site.yml").write_text(PLAYBOOK)
        (self.site / "ansible.cfg").write_text("[defaults]\ninterpreter_python = /usr/bin/python3\n")
        self.hosts: dict[str, dict[str, Any]] = {}
        for machine in MACHINES:
            (folder / machine).mkdir()
            self.hosts[machine] = {"ansible_connection": "local", "folder": str(folder / machine)}
        self.ours = ours
        self.variables = folder
        self.playbooks: Playbooks = AnsiblePlaybooks(
            playbooks=self.site,
            workspace=ours,
            control_path=f"{ours}/%C",
            inventory={"all": {"hosts": self.hosts}},
            secrets={"one": SECRET},
            variables=folder,
        )

    def fail(self, machine: str, role: str, message: str) -> None:
        self.hosts[machine][f"broken_{role}"] = message

    def darken(self, machine: str) -> None:
        self.hosts[machine] |= {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


class TestFakePlaybooks(PlaybooksContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalWorld]:
    with workspace() as ours:
        yield LocalWorld(tmp_path, ours)


class TestAnsiblePlaybooks(PlaybooksContract):
    @pytest.fixture
    def world(self, local: LocalWorld) -> LocalWorld:
        return local


ONE = Deployment(("base",), ("east-db-1",), whole=False)


def run(local: LocalWorld, tasks: str, **more: Any) -> Any:
    """Apply one role of ``tasks`` to one machine."""
    (local.site / "roles" / "base" / "tasks" / "main.yml").write_text(tasks)
    options = {"check": False, "limit_s": 30.0, "seen": lambda _: None, "asked_to_end": lambda: False}
    return local.playbooks.apply(ONE, **(options | more))


def test_a_secret_arrives_as_it_is(local: LocalWorld, tmp_path: Path) -> None:
    run(local, "- ansible.builtin.copy: {content: '{{ dcctl_secrets.one }}', dest: '{{ folder }}/secret'}")
    assert (tmp_path / "east-db-1" / "secret").read_text() == SECRET


def test_a_secret_is_in_no_file_argument_or_environment(local: LocalWorld, tmp_path: Path) -> None:
    found: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        if b"s3cret" in (process / name).read_bytes() and int(process.name) != os.getpid():
                            found.append(f"{process / name}")
                    except OSError:
                        continue
            for file in local.ours.rglob("*"):
                if file.is_file() and b"s3cret" in file.read_bytes():
                    found.append(str(file))
            time.sleep(0.02)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        run(local, "- ansible.builtin.debug: {msg: '{{ dcctl_secrets.one | length }}'}")
    finally:
        done.set()
        looker.join()
    assert found == []


def test_what_our_own_environment_holds_is_not_written_down(
    local: LocalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCENTER_PASSWORD", "pr1vate")
    run(local, '- ansible.builtin.debug: {msg: \'{{ lookup("env", "VCENTER_PASSWORD") | length }}\'}')
    written = [file for file in local.ours.rglob("*") if file.is_file() and b"pr1vate" in file.read_bytes()]
    assert written == []


def test_variables_beside_the_definition_are_used(local: LocalWorld, tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("word: from beside\n")
    run(local, "- ansible.builtin.copy: {content: '{{ word }}', dest: '{{ folder }}/word'}")
    assert (tmp_path / "east-db-1" / "word").read_text() == "from beside"


def test_a_playbook_that_cannot_be_read_is_said(local: LocalWorld) -> None:
    with pytest.raises(Rejected, match=r"apply the playbooks: .*frobnicate"):
        run(local, "- frobnicate: {}\n")


def test_a_task_that_does_not_end_is_ended(local: LocalWorld) -> None:
    with pytest.raises(TimedOut, match="apply the playbooks: not done within 3 s; last: "):
        run(local, "- {name: Sleep, ansible.builtin.command: sleep 31.7}", limit_s=3.0)
    assert _sleepers("31.7") == []


def test_an_interruption_leaves_nothing_running(local: LocalWorld) -> None:
    asked = threading.Event()
    with pytest.raises(Interrupted):
        run(
            local,
            "- {name: Sleep, ansible.builtin.command: sleep 32.7}",
            seen=lambda _what: asked.set(),
            asked_to_end=asked.is_set,
        )
    assert _sleepers("32.7") == []
    assert _whose_arguments_name(str(local.ours)) == []


def _sleepers(seconds: str) -> list[int]:
    """Processes that sleep so long; given a moment to notice that they were ended."""
    ends = time.monotonic() + 5
    while (found := _whose_arguments_name(f"sleep\0{seconds}")) and time.monotonic() < ends:
        time.sleep(0.1)
    return found


def _whose_arguments_name(text: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found
