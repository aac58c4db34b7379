"""Secrets by reference: where they may be, and what is said when they are not there."""

import os
import subprocess
from pathlib import Path

import pytest

from dcctl.config.reference import Reference, parse_reference, resolve
from dcctl.errors import ConfigurationError

SECRET = "correct horse battery staple"


def written(path: Path, text: str = SECRET + "\n", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def refused(reference: Reference) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as raised:
        resolve(reference)
    assert SECRET not in str(raised.value)
    assert str(reference) in str(raised.value)
    return raised.value


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCCTL_TEST_SECRET", SECRET)
    assert resolve(Reference("env", "DCCTL_TEST_SECRET")) == SECRET


def test_a_variable_that_is_not_set_says_how_to_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DCCTL_TEST_SECRET", raising=False)
    error = refused(Reference("env", "DCCTL_TEST_SECRET"))
    assert "the variable is not set" in str(error)
    assert error.next_command == "read -rs DCCTL_TEST_SECRET && export DCCTL_TEST_SECRET"


def test_from_a_file_without_its_last_line_break(tmp_path: Path) -> None:
    assert resolve(Reference("file", str(written(tmp_path / "secret")))) == SECRET


def test_relative_paths_begin_at_the_environments_folder(tmp_path: Path) -> None:
    reference = parse_reference("file:secrets/one", directory=tmp_path)
    assert reference.path == tmp_path / "secrets" / "one"
    assert parse_reference("vault:v.yml#key", directory=tmp_path).path == tmp_path / "v.yml"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_secret_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "secret", mode=mode)
    error = refused(Reference("file", str(path)))
    assert f"its mode is {mode:04o}" in str(error)
    assert error.next_command == f"chmod 600 {path}"


def test_a_public_value_may_be_read_by_others(tmp_path: Path) -> None:
    path = written(tmp_path / "key.pub", "ssh-ed25519 AAAA\n", mode=0o644)
    assert resolve(Reference("file", str(path), public=True)) == "ssh-ed25519 AAAA"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    error = refused(Reference("file", str(tmp_path / "gone")))
    assert "there is no such file" in str(error)
    assert error.next_command == f"install -D -m 600 /dev/stdin {tmp_path / 'gone'}"


def test_a_file_that_cannot_be_a_secret(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in str(refused(Reference("file", str(tmp_path))))
    assert "it is empty" in str(refused(Reference("file", str(written(tmp_path / "empty", "\n")))))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "bytes").chmod(0o600)
    assert "is not text in UTF-8" in str(refused(Reference("file", str(tmp_path / "bytes"))))


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file encrypted by ansible-vault itself."""
    password = written(tmp_path / "vault-password", "open sesame\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    monkeypatch.setenv("ANSIBLE_HOME", str(tmp_path / "ansible"))
    plain = written(tmp_path / "vault.yml", f"vcenter: {SECRET}\nnumber: 5\n")
    subprocess.run(  # ansible-vault is beside the interpreter
        [str(Path(os.sys.executable).parent / "ansible-vault"), "encrypt", str(plain)],  # type: ignore[attr-defined]
        check=True,
        capture_output=True,
    )
    assert SECRET not in plain.read_text()
    return plain


def test_from_an_ansible_vault(vault: Path) -> None:
    assert resolve(Reference("vault", f"{vault}#vcenter")) == SECRET


def test_a_vault_without_the_key(vault: Path) -> None:
    error = refused(Reference("vault", f"{vault}#missing"))
    assert "the vault has no text under 'missing'" in str(error)
    assert error.next_command == f"ansible-vault edit {vault}"
    assert "has no text under 'number'" in str(refused(Reference("vault", f"{vault}#number")))


def test_a_vault_with_another_password(vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(written(tmp_path / "other", "open barley\n")))
    assert "ansible-vault could not read it" in str(refused(Reference("vault", f"{vault}#vcenter")))


def test_a_vault_without_its_password_file(vault: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    error = refused(Reference("vault", f"{vault}#vcenter"))
    assert error.next_command == "export ANSIBLE_VAULT_PASSWORD_FILE=/path/to/vault-password"


def test_a_vault_whose_password_file_is_gone(vault: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", "/nowhere/vault-password")
    assert "ansible-vault could not read it" in str(refused(Reference("vault", f"{vault}#vcenter")))


def test_a_vault_that_is_not_encrypted_or_not_there(vault: Path) -> None:
    written(vault, f"vcenter: {SECRET}\n")
    assert "ansible-vault could not read it" in str(refused(Reference("vault", f"{vault}#vcenter")))
    vault.unlink()
    assert "there is no such file" in str(refused(Reference("vault", f"{vault}#vcenter")))
