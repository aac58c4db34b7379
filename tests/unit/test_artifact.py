"""What an artifact is called, and how a machine takes it into use."""

import importlib.util
import io
import json
import platform as host
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from dcctl import resources
from dcctl.config import expand
from dcctl.config.load import load_file
from dcctl.config.on_machines import machines_configuration
from dcctl.config.schema import Configuration
from dcctl.domain.artifact import (
    BY_ROLE,
    Platform,
    Recipe,
    Source,
    decide_artifacts,
    decide_digest,
    program,
    requirements,
)
from dcctl.resources import inventories
from dcctl.wiring.artifact import recipes

RECIPE = Recipe(
    "swift", "one==1 \\\n    --hash=sha256:00\n    # via two\n", (Source("a.py", b"x"),), (("run", "a:main"),)
)


@pytest.mark.parametrize(
    ("changed", "platform"),
    [
        (replace(RECIPE, name="other"), Platform()),
        (replace(RECIPE, lock="one==2 \\\n    --hash=sha256:00"), Platform()),
        (replace(RECIPE, sources=(Source("a.py", b"y"),)), Platform()),
        (replace(RECIPE, sources=(Source("b.py", b"x"),)), Platform()),
        (replace(RECIPE, sources=()), Platform()),
        (replace(RECIPE, commands=(("run", "a:other"),)), Platform()),
        (replace(RECIPE, commands_of=("one",)), Platform()),
        (RECIPE, Platform(python="3.13")),
        (RECIPE, Platform(machine="aarch64")),
        (RECIPE, Platform(glibc_minor=41)),
    ],
)
def test_whatever_would_change_it_changes_its_name(changed: Recipe, platform: Platform) -> None:
    assert decide_digest(changed, platform) != decide_digest(RECIPE, Platform())


def test_a_comment_in_the_lock_changes_nothing() -> None:
    other = replace(RECIPE, lock="# made by pip-compile\n" + RECIPE.lock.replace("two", "three"))
    assert decide_digest(other, Platform()) == decide_digest(RECIPE, Platform())


def test_a_role_has_its_artifacts_and_each_is_made_once() -> None:
    assert decide_artifacts(("base", "procurement", "agent", "swift")) == ("procurement", "dcctl", "swift")
    assert decide_artifacts(("base", "zookeeper")) == ()


def test_every_artifact_of_a_role_has_a_recipe_and_every_requirement_its_hashes() -> None:
    made = {recipe.name: recipe for recipe in recipes()}
    assert {name for names in BY_ROLE.values() for name in names} <= made.keys()
    for recipe in made.values():
        lines = requirements(recipe.lock)
        pinned = [number for number, line in enumerate(lines) if "==" in line]
        assert pinned
        assert all(lines[number + 1].startswith("--hash=sha256:") for number in pinned)


def test_what_runs_on_machines_is_dcctl_without_its_lab() -> None:
    paths = {source.path for recipe in recipes() if recipe.name == "dcctl" for source in recipe.sources}
    assert {"dcctl/cli/main.py", "dcctl/cli/leader.py", "dcctl/py.typed"} <= paths
    assert not [path for path in paths if path.startswith(("dcctl/lab/", "dcctl/testing/", "dcctl/_data/"))]


def test_a_program_names_the_python_beside_it() -> None:
    text = program("/opt/dcctl/swift/00", "swift.cli.x", "main")
    assert text.startswith("#!/opt/dcctl/swift/00/bin/python\n")
    assert "from swift.cli.x import main\n" in text
    assert text.endswith("sys.exit(main())\n")


def test_old_wheels_are_taken_and_too_new_ones_are_not() -> None:
    tags = Platform().wheel_tags
    assert tags[0] == "manylinux_2_36_x86_64"
    assert "manylinux_2_17_x86_64" in tags
    assert "manylinux_2_37_x86_64" not in tags


def test_the_machines_own_configuration_is_right_and_holds_nothing_of_the_operators(tmp_path: Path) -> None:
    configuration = load_file(inventories() / "lab" / "dcctl.yaml")
    document = machines_configuration(configuration)
    again = Configuration.model_validate(document)
    assert again.environment == configuration.environment
    assert expand.machines(again) == expand.machines(configuration)
    assert again.network_namespace is None
    assert "/run/operator/" not in json.dumps(document)
    (tmp_path / "dcctl.yaml").write_text(json.dumps(document))
    assert load_file(tmp_path / "dcctl.yaml").replication is not None


class Failed(Exception):
    """The module said that it failed."""


class Module:
    """What an Ansible module has of Ansible."""

    check_mode = False
    params: ClassVar = {"sync": False}

    def fail_json(self, msg: str) -> None:
        raise Failed(msg)

    def run_command(self, _argv: list[str]) -> tuple[int, str, str]:
        return 0, "", ""


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "artifact", resources.playbooks() / "library" / "artifact.py"
    )
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def archive(path: Path, **about: str) -> Path:
    said = {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "machine": host.machine(),
        **about,
    }
    with tarfile.open(path, "w:gz") as packed:
        content = json.dumps(said).encode()
        member = tarfile.TarInfo("artifact.json")
        member.size = len(content)
        packed.addfile(member, io.BytesIO(content))
    return path


def test_a_machine_keeps_the_one_before_and_no_other(module: Any, tmp_path: Path) -> None:
    home = tmp_path / "swift"
    for digest in ("1", "2", "3"):
        module.unpack(Module(), archive(tmp_path / "arriving.tar.gz"), home / digest)
        module.use(home, home / digest)
    assert sorted(path.name for path in home.iterdir()) == ["2", "3", "current"]
    assert module.target(home) == "3"
    assert not (tmp_path / "arriving.tar.gz").exists()
    module.use(home, home / "2")
    assert sorted(path.name for path in home.iterdir()) == ["2", "3", "current"]
    assert module.target(home) == "2"


def test_an_artifact_of_another_platform_is_refused_with_both_named(module: Any, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"the artifact is for Python 2\.7 on vax, this machine has Python 3"):
        module.unpack(
            Module(), archive(tmp_path / "a.tar.gz", python="2.7", machine="vax"), tmp_path / "swift" / "1"
        )
    assert not (tmp_path / "swift" / "1").exists()
