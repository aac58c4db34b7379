"""Specifications, disks and the runtime's answers to what does not exist."""

import json
import os
import uuid
from pathlib import Path

import pytest

from dcctl.errors import NotFound, UsageError
from dcctl.lab import machine
from dcctl.lab.disk import layers_of, write_disk

ID = "6f5dcb8e-9d0c-4f0c-9f0e-5f0d3a1b7c11"
DOCUMENT = {
    "id": ID,
    "name": "east-db-1",
    "hostname": "east-db-1",
    "place": "east",
    "address": "198.18.1.20/24",
    "gateway": "198.18.1.1",
    "authorized_keys": ["ssh-ed25519 AAAA operator"],
    "user_data": "#cloud-config\n{}\n",
}


@pytest.fixture
def current(tmp_path: Path) -> Path:
    (tmp_path / "images/abc/base").mkdir(parents=True)
    (tmp_path / "images/abc/stack").mkdir()
    (tmp_path / "images/current").symlink_to("abc")
    return tmp_path / "images/current"


def test_names_that_the_host_sees_come_from_the_id() -> None:
    spec = machine.parse(DOCUMENT)
    assert (spec.namespace, spec.port) == ("dcctl-m-6f5dcb8e", "m-6f5dcb8e")
    assert len(spec.port) <= 15


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": "red"}, "define a machine: unknown fields colour"),
        ({"place": "mars"}, "define a machine on east-db-1: no place mars"),
        ({"id": "../../etc"}, "define a machine on east-db-1: ../../etc is not a UUID"),
        ({"address": "198.18.1.20"}, "define a machine on east-db-1: address 198.18.1.20 lacks its prefix"),
        ({"address": "nonsense/24"}, "define a machine on east-db-1: address nonsense/24"),
        ({"hostname": "-b"}, "define a machine on east-db-1: -b is not a host name"),
    ],
)
def test_a_wrong_specification_is_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        machine.parse({**DOCUMENT, **change})
    assert refused.value.sentence().startswith(sentence)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(UsageError, match="hostname"):
        machine.parse({key: value for key, value in DOCUMENT.items() if key != "hostname"})


def test_a_disk_tells_the_machine_who_it_is(tmp_path: Path, current: Path) -> None:
    before = os.umask(0o077)
    try:
        write_disk(tmp_path / "machine", machine.parse(DOCUMENT), current=current)
    finally:
        os.umask(before)
    upper = tmp_path / "machine/upper"
    assert (upper / "etc/hostname").read_text() == "east-db-1\n"
    assert (upper / "etc/machine-id").read_text() == ID.replace("-", "") + "\n"
    assert oct((upper / "etc").stat().st_mode)[-3:] == "755"
    seed = upper / "var/lib/cloud/seed/nocloud"
    assert json.loads((seed / "meta-data").read_text()) == {
        "instance-id": ID,
        "local-hostname": "east-db-1",
        "public-keys": ["ssh-ed25519 AAAA operator"],
    }
    assert (seed / "user-data").read_text() == DOCUMENT["user_data"]
    assert oct((seed / "user-data").stat().st_mode)[-3:] == "600"


def test_a_disk_stays_over_the_image_that_it_was_made_over(tmp_path: Path, current: Path) -> None:
    spec = machine.parse(DOCUMENT)
    write_disk(tmp_path / "machine", spec, current=current)
    (tmp_path / "machine/upper/etc/hostname").write_text("changed by the machine\n")
    current.unlink()
    current.symlink_to("newer")
    write_disk(tmp_path / "machine", spec, current=current)
    images = tmp_path / "images"
    assert layers_of(tmp_path / "machine") == f"{images}/abc/stack:{images}/abc/base"
    assert (tmp_path / "machine/upper/etc/hostname").read_text() == "changed by the machine\n"


def test_an_image_that_is_not_built_is_not_found_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="find the image on debian-12: not built"):
        write_disk(tmp_path / "machine", machine.parse(DOCUMENT), current=tmp_path / "none")
    assert not (tmp_path / "machine").exists()


def test_the_runtime_answers_for_an_absent_machine_with_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    absent = str(uuid.uuid4())
    assert machine.main(["show", absent]) == 4
    assert capsys.readouterr().err == f"find the machine on {absent}: no such machine\n"


def test_the_runtime_takes_only_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.main(["delete", "../../etc"]) == 2
    assert capsys.readouterr().err == "find the machine on ../../etc: not a UUID\n"
