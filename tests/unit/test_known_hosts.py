"""Host keys: made, rendered for the first boot, and remembered."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import paramiko
import pytest
import yaml

from dcctl.adapters.host_keys import generate_host_key, observe_authorized_key
from dcctl.adapters.state import KnownHostsFile, Observations
from dcctl.domain.known_hosts import KnownHost, parse, plain_host_key, render
from dcctl.domain.machine import Power, Server, Size
from dcctl.domain.user_data import render_user_data
from dcctl.errors import ConfigurationError, Unreachable

ONE = KnownHost("east-db-1", "192.0.2.20", 22, "ssh-ed25519 AAAA1")
TWO = KnownHost("west-db-1", "198.51.100.20", 2222, "ssh-ed25519 AAAA2")


def test_known_hosts_are_what_openssh_and_paramiko_read(tmp_path: Path) -> None:
    key = generate_host_key()
    path = tmp_path / "known_hosts"
    path.write_text(render([KnownHost("east-db-1", "192.0.2.20", 2222, key.public)]))
    assert subprocess.run(
        ["ssh-keygen", "-F", "[192.0.2.20]:2222", "-f", path], capture_output=True, check=False
    ).stdout
    loaded = paramiko.HostKeys(str(path))
    for host in ("[192.0.2.20]:2222", "[east-db-1]:2222"):
        found = loaded.lookup(host)
        assert found is not None
        assert f"ssh-ed25519 {found['ssh-ed25519'].get_base64()}" == key.public


def test_known_hosts_are_parsed_as_they_were_rendered() -> None:
    assert parse(render([TWO, ONE])) == (ONE, TWO)


def test_lines_of_others_are_passed_over() -> None:
    text = "# a remark, here\n|1|hash=|salt= ssh-ed25519 AAAA\n@revoked a,b ssh-ed25519 AAAA\n\n" + render(
        [ONE]
    )
    assert parse(text) == (ONE,)


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "BEGIN OPENSSH"])
def test_what_is_no_host_key_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not a public key"):
        plain_host_key(text)


def test_a_host_key_loses_its_comment() -> None:
    assert plain_host_key("ssh-ed25519 AAAA root@somewhere\n") == "ssh-ed25519 AAAA"


def test_a_recorded_key_takes_the_place_of_its_name_and_of_its_address(tmp_path: Path) -> None:
    hosts = KnownHostsFile(tmp_path / "state" / "known_hosts")
    assert hosts.observe() == ()
    for host in (ONE, TWO):
        hosts.record(host)
    renamed = KnownHost("east-db-2", ONE.address, 22, "ssh-ed25519 AAAA3")
    hosts.record(renamed)
    moved = KnownHost("west-db-1", "198.51.100.21", 22, "ssh-ed25519 AAAA4")
    hosts.record(moved)
    assert hosts.observe() == (renamed, moved)
    hosts.forget("east-db-2")
    hosts.forget("east-db-2")
    assert hosts.observe() == (moved,)
    assert [path.name for path in hosts.path.parent.iterdir()] == ["known_hosts"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unreachable, match=r"on .*known_hosts: "):
        KnownHostsFile(tmp_path / "file" / "known_hosts").record(ONE)


def test_user_data_is_a_cloud_config_with_the_key_that_was_made(tmp_path: Path) -> None:
    key = generate_host_key()
    text = render_user_data(
        hostname="east-db-1", user="dcctl", authorized_keys=("ssh-ed25519 AAAA me",), host_key=key
    )
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    assert document["hostname"] == "east-db-1"
    assert document["ssh_pwauth"] is False
    (user,) = document["users"]
    assert user["name"] == "dcctl"
    assert user["ssh_authorized_keys"] == ["ssh-ed25519 AAAA me"]
    private = tmp_path / "key"
    private.touch(mode=0o600)
    private.write_text(document["ssh_keys"]["ed25519_private"])
    derived = subprocess.run(["ssh-keygen", "-y", "-f", private], capture_output=True, check=True, text=True)
    assert derived.stdout.split()[:2] == key.public.split()
    assert document["ssh_keys"]["ed25519_public"] == f"{key.public} east-db-1"


def test_a_host_key_does_not_show_its_private_half() -> None:
    assert "PRIVATE" not in repr(generate_host_key())


def test_the_operators_key_is_read_or_derived(tmp_path: Path) -> None:
    key = generate_host_key()
    private = tmp_path / "id"
    private.write_text(key.private)
    assert observe_authorized_key(tmp_path / "id.pub", private) == key.public
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAA me\n")
    assert observe_authorized_key(tmp_path / "id.pub", private) == "ssh-ed25519 AAAA me"


def test_an_operators_key_that_cannot_be_used_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="id: No such file"):
        observe_authorized_key(tmp_path / "id.pub", tmp_path / "id")
    (tmp_path / "id").write_text("nonsense")
    with pytest.raises(ConfigurationError, match=r"id.pub: is missing, and .*id alone does not tell it"):
        observe_authorized_key(tmp_path / "id.pub", tmp_path / "id")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"], check=True
    )
    (tmp_path / "locked.pub").unlink()
    with pytest.raises(ConfigurationError, match=r"locked.pub: is missing"):
        observe_authorized_key(tmp_path / "locked.pub", tmp_path / "locked")


def test_a_site_is_remembered_as_it_was_seen(tmp_path: Path) -> None:
    observations = Observations(tmp_path / "observations")
    assert observations.last_seen("east") is None
    servers = tuple(
        Server("1", name, "east", "lab", Power.ON, "ACTIVE", "host-1", "192.0.2.20", size, ONE.host_key)
        for name, size in (("a", Size(1, 2, 3)), ("b", None))
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    observations.record("east", servers, at)
    seen = observations.last_seen("east")
    assert seen is not None
    assert (seen.site, seen.at, seen.servers) == ("east", at, servers)


def test_what_cannot_be_understood_any_more_was_never_seen(tmp_path: Path) -> None:
    (tmp_path / "east.json").write_text('{"at": "yesterday"}')
    assert Observations(tmp_path).last_seen("east") is None
