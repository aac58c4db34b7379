"""Finding an environment by name or path, and one file extending another."""

import os
from pathlib import Path

import pytest

from dcctl import resources
from dcctl.config.load import environments, find, load, state_base
from dcctl.config.schema import OpenstackSite, VmwareSite
from dcctl.errors import ConfigurationError, UsageError

GOOD = (Path(__file__).parent / "cases" / "config" / "good.yaml").read_text()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def environment(folder: Path, text: str = GOOD) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dcctl.yaml").write_text(text)
    return folder / "dcctl.yaml"


def test_without_a_name_it_is_the_one_of_this_folder(here: Path) -> None:
    environment(here)
    assert load(None).environment == "good"


def test_without_a_name_and_without_a_file_the_environments_are_listed(here: Path) -> None:
    environment(here / "inventories" / "acceptance")
    with pytest.raises(UsageError, match=r"environments found: acceptance, .*lab"):
        load(None)


def test_a_name_is_looked_up_here_first_and_then_among_our_own(here: Path) -> None:
    assert find("lab") == resources.inventories() / "lab" / "dcctl.yaml"
    mine = environment(here / "inventories" / "lab")
    assert find("lab").resolve() == mine.resolve()


def test_a_path_may_be_the_file_or_its_folder(here: Path) -> None:
    path = environment(here / "elsewhere")
    assert find("elsewhere").resolve() == find("elsewhere/dcctl.yaml").resolve() == path.resolve()
    assert find(str(path)) == path


def test_an_unknown_name_suggests_the_nearest(here: Path) -> None:
    with pytest.raises(UsageError, match=r"find the environment on lob: .*environments found: ") as raised:
        find("lob")
    assert raised.value.next_command == "dcctl -e lab config check"


def test_environments_below_a_folder_have_its_name_before_them() -> None:
    assert {"example/development", "example/staging", "example/production", "lab"} <= set(environments())


@pytest.mark.parametrize("name", sorted(environments()))
def test_every_inventory_that_travels_with_dcctl_is_valid(name: str) -> None:
    configuration = load(name)
    kinds = [type(site) for site in configuration.sites.values()]
    assert kinds == [OpenstackSite, VmwareSite]


def test_environments_of_one_definition_differ_only_in_what_they_say() -> None:
    production, staging = load("example/production"), load("example/staging")
    assert staging.machines["db"] == production.machines["db"]
    assert staging.sites["lviv"].model_copy(update={"network": None, "folder": "", "ca_file": None}) == (
        production.sites["lviv"].model_copy(update={"network": None, "folder": "", "ca_file": None})
    )
    assert staging.sites["lviv"].network.cidr != production.sites["lviv"].network.cidr


def test_paths_begin_at_the_environments_folder_also_when_inherited(here: Path) -> None:
    environment(here / "one")
    environment(here / "two", "extends: ../one/dcctl.yaml\nenvironment: two\nstate_directory: state\n")
    configuration = load("two")
    assert configuration.ssh.private_key.path == here / "two" / "id_ed25519"
    assert configuration.ssh.public_key_path == here / "two" / "id_ed25519.pub"
    assert configuration.state_directory == here / "two" / "state"


def test_an_empty_value_removes_what_was_inherited(here: Path) -> None:
    environment(here / "one", GOOD + "network_namespace: vrf\n")
    environment(here / "two", "extends: ../one/dcctl.yaml\nnetwork_namespace:\n")
    assert load("one").network_namespace == "vrf"
    assert load("two").network_namespace is None


def test_a_problem_points_to_the_file_that_says_it(here: Path) -> None:
    environment(here / "one", GOOD.replace("loss_window: 0s", "loss_window: 0"))
    environment(here / "two", "extends: ../one/dcctl.yaml\nobjectives:\n  recovery_time: 7\n")
    with pytest.raises(ConfigurationError) as raised:
        load("two")
    places = [str(problem).split(": ")[0] for problem in raised.value.problems]
    assert places == ["two/dcctl.yaml:3:18", "one/dcctl.yaml:34:47"]


def test_state_lies_beside_the_file_and_elsewhere_when_nothing_can_be_written_there(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "state"))
    environment(here / "mine")
    assert load("mine").state_directory == here / "mine" / ".dcctl"
    installed = Path(resources.__file__).parent / "_data" / "inventories" / "lab"
    assert state_base(installed, {"environment": "lab"}) == here / "state" / "dcctl" / "lab"


def test_a_folder_that_is_read_only_keeps_its_state_elsewhere(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "state"))
    folder = environment(here / "sealed").parent
    folder.chmod(0o500)
    try:
        sealed = not os.access(folder, os.W_OK)
        expected = here / "state" / "dcctl" / "good" if sealed else folder
        assert load("sealed").state_directory == expected / ".dcctl"
    finally:
        folder.chmod(0o700)
