"""The running lab, for tests that need it; tests that need none running come first."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from guests import Guest, dcctl, specification

from dcctl import resources
from dcctl.lab import clouds, down, image, machine, up
from dcctl.lab.paths import LAB, OPERATOR, OPERATOR_NAMESPACE, RUN

REUSE_VARIABLE = "DCCTL_TEST_RUNNING_LAB"
"""Set it to run tests against the lab that is up, and leave it up; for people who write tests."""


@dataclass(frozen=True)
class Lab:
    """A lab that is up. ``with_clouds`` is False for the light one."""

    with_clouds: bool
    folder: Path = LAB
    run: Path = RUN
    operator: Path = OPERATOR
    operator_namespace: str = OPERATOR_NAMESPACE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The lab's tests last: those that want no lab, those that want it, those that want all on it."""
    here = Path(__file__).parent

    def turn(item: pytest.Item) -> int:
        if here not in item.path.parents:
            return 0
        wants = getattr(item, "fixturenames", ())
        return 1 if "no_lab" in wants else 3 if "whole_stack" in wants else 2

    items.sort(key=turn)


@pytest.fixture(scope="session")
def lab(capable_host: None) -> Iterator[Lab]:
    """The whole lab, for the whole test run; removed at its end, proven to leave nothing."""
    with _lab_up(with_clouds=True) as running:
        yield running


@pytest.fixture(scope="session")
def substrate(capable_host: None, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Networks, machines and the witness, without clouds; the whole lab if another test wants that."""
    if any("lab" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield request.getfixturevalue("lab")
    else:
        with _lab_up(with_clouds=False) as running:
            yield running


@pytest.fixture(scope="session")
def whole_stack(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lab's own environment, everything deployed, with a state directory of the tests'.

    For all that need it, one after the other, because deploying takes minutes; removed at the very end.
    """
    here = resources.inventories() / "lab"
    if os.environ.get(REUSE_VARIABLE):
        yield here
        return
    folder = tmp_path_factory.mktemp("environment")
    document = yaml.safe_load((here / "dcctl.yaml").read_text())
    document["state_directory"] = str(folder / ".dcctl")
    (folder / "dcctl.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    (folder / "group_vars").symlink_to(here / "group_vars")
    try:
        for words in (("provision", "apply", "--yes"), ("deploy",)):
            dcctl("-e", str(folder), *words, check=True, limit_s=1000)
        yield folder
    finally:
        dcctl("lab", "heal", check=True)
        dcctl("-e", str(folder), "provision", "destroy", "--yes", check=True, limit_s=300)


@pytest.fixture(scope="session")
def built(capable_host: None) -> None:
    """The golden image, from the cache or anew: what takes minutes is not what a test measures."""
    image.ensure_built(print)


@pytest.fixture(scope="session")
def clouds_built(built: None) -> None:
    """What both clouds keep in the cache."""
    for site in clouds.MODULES:
        clouds.cloud(site).ensure_built(print)


@pytest.fixture
def no_lab(built: None) -> Iterator[None]:
    """No lab before, and none after, whatever the test did."""
    if os.environ.get(REUSE_VARIABLE) and up.is_up():
        pytest.skip(f"{REUSE_VARIABLE} is set, and this test needs a host without a lab")
    _refuse_running_lab()
    yield
    dcctl("lab", "down", check=True)


@contextlib.contextmanager
def _lab_up(*, with_clouds: bool) -> Iterator[Lab]:
    if os.environ.get(REUSE_VARIABLE) and up.is_up():
        yield Lab(with_clouds=bool(up.description()["clouds"]))
        return
    _refuse_running_lab()
    try:
        dcctl("lab", "up", *([] if with_clouds else ["--no-clouds"]), check=True, limit_s=1200)
        yield Lab(with_clouds=with_clouds)
    finally:
        dcctl("lab", "down", check=True)
        assert down.leftovers() == ()


def _refuse_running_lab() -> None:
    if up.is_up():
        pytest.fail(
            "a lab is running on this host, and one host holds one lab: `dcctl lab down`, or set "
            f"{REUSE_VARIABLE}=1 to test against it",
            pytrace=False,
        )


@pytest.fixture
def guest(substrate: Lab) -> Iterator[Callable[..., Guest]]:
    """Defines machines, and removes them at the end of the test."""
    made: list[str] = []

    def define(name: str = "guest", place: str = "east", last_octet: int = 200, **more: Any) -> Guest:
        spec = machine.define(specification(name, place, last_octet, **more))
        made.append(spec.id)
        return Guest(spec)

    yield define
    for id in made:
        machine.delete(id)
