"""Secrets by reference: the configuration says where a secret is, never what it is.

    env:NAME                  an environment variable of the dcctl process
    file:/path                a file that nobody else may read
    vault:/path/vault.yml#key a value in a file encrypted by ansible-vault

A reference is resolved when it is used, not when it is read, so that a command which needs no secret
runs without any. (The credentials of an OpenStack site are in its ``clouds.yaml`` or ``OS_*`` variables.)
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dcctl.errors import ConfigurationError, Problem

SCHEMES = ("env", "file", "vault")
HOW = "env:NAME, file:/path or vault:/path/vault.yml#key"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a value is. ``location`` is a variable's name, an absolute path, or ``path#key``.

    ``public`` values (host keys) may lie in files that others can read.
    """

    scheme: str
    location: str
    public: bool = False

    def __str__(self) -> str:
        return f"{self.scheme}:{self.location}"

    @property
    def path(self) -> Path:
        """The file of a ``file:`` or ``vault:`` reference."""
        return Path(self.location.partition("#")[0] if self.scheme == "vault" else self.location)


def parse_reference(
    value: object, *, directory: Path, schemes: tuple[str, ...] = SCHEMES, public: bool = False
) -> Reference:
    """Read a reference; relative paths start at ``directory``.

    ValueError says what to write, and never repeats the value: it may be the secret itself.
    """
    how = (
        HOW
        if schemes == SCHEMES
        else " or ".join({"env": "env:NAME", "file": "file:/path"}[s] for s in schemes)
    )
    scheme, colon, location = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not colon or scheme not in schemes:
        near = get_close_matches(scheme, schemes, n=1) if colon else []
        hint = f"; did you mean {near[0]}:?" if near else ""
        raise ValueError(f"must be a reference ({how}), not the value itself or another scheme{hint}")
    if scheme == "env":
        if not (location.isascii() and location.isidentifier()):
            raise ValueError("env: needs the name of an environment variable, such as env:VCENTER_PASSWORD")
        return Reference("env", location, public)
    path, hash_sign, key = location.partition("#") if scheme == "vault" else (location, "", "")
    if not path:
        raise ValueError(f"{scheme}: needs a path")
    if scheme == "vault" and not key:
        raise ValueError("vault: needs a file and a key, such as vault:vault.yml#vcenter_password")
    absolute = directory / Path(path).expanduser()
    return Reference(scheme, f"{absolute}{hash_sign}{key}", public)


def resolve(reference: Reference) -> str:
    """The value that ``reference`` names, without a final line break.

    Raises ConfigurationError, which names the reference and how to provide it.
    """
    match reference.scheme:
        case "env":
            value = _from_environment(reference)
        case "file":
            value = _from_file(reference)
        case _:
            value = _from_vault(reference)
    if not value.strip():
        raise _missing(reference, "it is empty")
    return value.rstrip("\r\n")


def _missing(reference: Reference, saw: str, *, next_command: str = "") -> ConfigurationError:
    return ConfigurationError((Problem(str(reference), 0, 0, saw),), next_command=next_command)


def _from_environment(reference: Reference) -> str:
    value = os.environ.get(reference.location)
    if value is None:
        raise _missing(
            reference,
            "the variable is not set",
            next_command=f"read -rs {reference.location} && export {reference.location}",
        )
    return value


def _from_file(reference: Reference) -> str:
    path = reference.path
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077 and not reference.public:
                raise _missing(
                    reference,
                    f"its mode is {mode:04o}: others than its owner may use it",
                    next_command=f"chmod 600 {path}",
                )
            return file.read()
    except FileNotFoundError as error:
        provide = "" if reference.public else f"install -D -m 600 /dev/stdin {path}"
        raise _missing(reference, "there is no such file", next_command=provide) from error
    except OSError as error:
        raise _missing(reference, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _missing(reference, "is not text in UTF-8") from error


def _from_vault(reference: Reference) -> str:
    from ansible.errors import AnsibleError  # noqa: PLC0415  # slow to import, and rarely needed

    key = reference.location.partition("#")[2]
    try:
        values = _decrypted(reference)
    except AnsibleError as error:
        raise _missing(reference, f"ansible-vault could not read it: {error}") from error
    value = values.get(key)
    if not isinstance(value, str):
        raise _missing(
            reference,
            f"the vault has no text under {key!r}",
            next_command=f"ansible-vault edit {reference.path}",
        )
    return value


def _decrypted(reference: Reference) -> Mapping[str, Any]:
    import yaml  # noqa: PLC0415
    from ansible.parsing.dataloader import DataLoader  # noqa: PLC0415
    from ansible.parsing.vault import VaultLib, get_file_vault_secret  # noqa: PLC0415

    password_file = os.environ.get("ANSIBLE_VAULT_PASSWORD_FILE")
    if not password_file:
        raise _missing(
            reference,
            "ANSIBLE_VAULT_PASSWORD_FILE does not name the vault's password file",
            next_command="export ANSIBLE_VAULT_PASSWORD_FILE=/path/to/vault-password",
        )
    try:
        encrypted = reference.path.read_bytes()
    except FileNotFoundError as error:
        create = f"ansible-vault create {reference.path}"
        raise _missing(reference, "there is no such file", next_command=create) from error
    except OSError as error:
        raise _missing(reference, f"cannot be read: {error.strerror or error}") from error
    secret = get_file_vault_secret(filename=password_file, loader=DataLoader())
    secret.load()
    try:
        values = yaml.safe_load(VaultLib([("default", secret)]).decrypt(encrypted))
    except yaml.YAMLError as error:
        # The parser's own message would quote the decrypted text.
        raise _missing(reference, "what it decrypts to is not YAML") from error
    if not isinstance(values, dict):
        raise _missing(reference, "what it decrypts to is not a mapping of names to values")
    return values
