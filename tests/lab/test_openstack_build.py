"""What OpenStack starts from is built once, and holds nothing that only one lab may know."""

import tarfile

import pytest

from dcctl.lab import openstack_build

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("capable_host")]


@pytest.fixture(scope="module", autouse=True)
def built(capable_host: None) -> None:
    openstack_build.ensure_built(print)


def test_what_is_built_is_not_built_again() -> None:
    said: list[str] = []
    openstack_build.ensure_built(said.append)
    assert openstack_build.is_built()
    assert said == []


def test_the_first_state_holds_no_path_and_no_key() -> None:
    with tarfile.open(openstack_build.baked()) as archive:
        names = archive.getnames()
        assert {name.split("/")[0] for name in names} == {"db", "images"}
        for name in names:
            if (file := archive.extractfile(name)) is not None:
                assert str(openstack_build.CACHE).encode() not in file.read(), name


def test_each_unpacking_has_passwords_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("unpacked")
    certificate, key = openstack_build.self_signed(folder)
    first, second = (
        openstack_build.unpack(folder / name, certificate=certificate, key=key, authority=certificate)
        for name in ("first", "second")
    )
    assert set(first) == {"admin", "service", "dcctl"}
    assert not set(first.values()) & set(second.values())
    assert (folder / "first").stat().st_mode & 0o077 == 0
    assert (folder / "first" / "settings.json").stat().st_mode & 0o077 == 0
