"""The role ``application`` with Ansible on this machine: artifacts arrive, are taken into use, and go."""

import io
import json
import platform
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcctl import resources
from dcctl.adapters.ansible import AnsiblePlaybooks
from dcctl.adapters.workspace import workspace
from dcctl.domain.deploy import Applied, Deployment

PLAYBOOK = """
- name: Application
  hosts: all
  gather_facts: false
  tasks:
    - name: Have it
      ansible.builtin.import_role: {name: application}
      vars: {application_name: swift}
"""


class World:
    """One machine, which is a folder of this one, and an operator who builds artifacts."""

    def __init__(self, folder: Path, ours: Path) -> None:
        site = folder / "playbooks"
        site.mkdir()
        (site / "site.yml").write_text(PLAYBOOK)
        (site / "roles").symlink_to(resources.playbooks() / "roles")
        settings = {"interpreter_python": sys.executable, "library": resources.playbooks() / "library"}
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (site / "ansible.cfg").write_text(f"[defaults]\n{lines}")
        self.home = folder / "opt" / "swift"
        self.variables: dict[str, Any] = {
            "ansible_connection": "local",
            "application_root": str(folder / "opt"),
            "application_sync": False,
        }
        self._folder = folder
        self._playbooks = AnsiblePlaybooks(
            playbooks=site,
            workspace=ours,
            control_path=f"{ours}/%C",
            inventory={"all": {"hosts": {"east-app-1": self.variables}}},
            secrets={},
            variables=folder,
        )

    def build(self, digest: str) -> None:
        """What the operator wants on the machine from now on, and has at hand."""
        file = self._folder / f"{digest}.tar.gz"
        about = {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", "machine": platform.machine()}
        content = json.dumps(about).encode()
        with tarfile.open(file, "w:gz") as packed:
            member = tarfile.TarInfo("artifact.json")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
        self.variables["dcctl_artifacts"] = {"swift": {"digest": digest, "file": str(file)}}

    def apply(self, *, check: bool = False) -> Applied:
        whole = Deployment(("base",), ("east-app-1",), whole=True)
        return self._playbooks.apply(
            whole, check=check, limit_s=120.0, seen=lambda _: None, asked_to_end=lambda: False
        )

    def there(self) -> tuple[str, list[str]]:
        """The digest in use, and all that the machine keeps."""
        kept = sorted(path.name for path in self.home.iterdir() if not path.is_symlink())
        return (self.home / "current").readlink().name, kept


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with workspace() as ours:
        yield World(tmp_path, ours)


def test_an_artifact_is_sent_once_and_the_one_before_it_is_the_way_back(world: World) -> None:
    world.build("one")
    assert world.apply(check=True).changed == 1
    assert not world.home.exists()
    assert world.apply().failures == ()
    assert world.there() == ("one", ["one"])

    (world.home.parents[1] / "one.tar.gz").unlink()
    again = world.apply()
    assert (again.changed, again.failures) == (0, ())

    world.build("two")
    world.apply()
    world.build("three")
    world.apply()
    assert world.there() == ("three", ["three", "two"])

    world.variables["dcctl_artifacts"] = {"swift": {"digest": "two", "file": "/nowhere"}}
    back = world.apply()
    assert (back.changed, back.failures) == (1, ())
    assert world.there() == ("two", ["three", "two"])
