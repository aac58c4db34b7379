"""SSH keys that machines are given: a host key of their own, and the operator's key."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from dcctl.domain.user_data import HostKeyPair
from dcctl.errors import ConfigurationError, Problem


def generate_host_key() -> HostKeyPair:
    """A new ed25519 key. The private half is nowhere but in what this returns."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return HostKeyPair(public=public.decode(), private=private.decode())


def observe_authorized_key(public_key: Path, private_key: Path) -> str:
    """The operator's public key: what ``public_key`` holds or, without that file, half of ``private_key``.

    Raises ConfigurationError when neither can be used.
    """
    try:
        return public_key.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return _public_half(private_key, missing=public_key)
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(public_key, str(error)) from error


def _public_half(private_key: Path, *, missing: Path) -> str:
    try:
        key = load_ssh_private_key(private_key.read_bytes(), password=None)
    except OSError as error:
        raise _unusable(private_key, error.strerror or str(error)) from error
    except (ValueError, TypeError) as error:
        # TypeError is how the library says that a passphrase is missing.
        raise _unusable(missing, f"is missing, and {private_key} alone does not tell it: {error}") from error
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _unusable(path: Path, saw: str) -> ConfigurationError:
    return ConfigurationError((Problem(str(path), 0, 0, saw),), next_command="ssh-keygen -t ed25519")
