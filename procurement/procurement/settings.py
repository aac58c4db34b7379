"""The settings of a process: environment variables, and secrets only by reference.

A secret's variable holds ``file:/path`` or ``env:NAME``, never the secret.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from procurement.errors import SettingsError

PREFIX = "PROCUREMENT_"


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """What signs a request that brings its own timestamp: a realm's name and key, and the container's."""

    realm: str
    realm_key: str
    container_key: str


@dataclass(frozen=True, slots=True)
class SwiftSettings:
    """One Swift account, reached with a password at an auth v1 or Keystone v3 address.

    ``user`` is ``account:user``, with Keystone ``project:user``, both in ``domain``. ``url`` is the account's
    address where the one that the login tells is not the one to use.
    """

    site: str
    auth_url: str
    user: str
    key: str
    container: str
    temp_url_key: str | None = None
    public_url: str | None = None
    ca_file: str | None = None
    sync: SyncSettings | None = None
    domain: str = "Default"
    url: str | None = None


class Settings:
    """Settings read one by one, so that a process needs only those that it uses."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str | None = None) -> str:
        """A variable's text. Raises SettingsError when it is absent and has no default."""
        value = self._variables.get(PREFIX + name, default)
        if value is None:
            raise SettingsError(f"{PREFIX}{name} is not set")
        return value

    def given_by_dcctl(self, name: str) -> str | None:
        """A variable that ``dcctl leader hold`` sets; None when we do not run under it."""
        return self._variables.get(f"DCCTL_{name}")

    def secret(self, name: str) -> str:
        """The secret that a variable refers to. Raises SettingsError."""
        return self._resolve(PREFIX + name, self.text(name))

    def optional_secret(self, name: str) -> str | None:
        """The secret that a variable refers to, or None when it is not set."""
        return self.secret(name) if PREFIX + name in self._variables else None

    def number(self, name: str, default: float) -> float:
        """A number. Raises SettingsError."""
        text = self.text(name, str(default))
        try:
            return float(text)
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name} is not a number: {text}") from error

    def url(self, name: str, default: str | None = None) -> str:
        """An http or https address without a final slash. Raises SettingsError."""
        text = self.text(name, default).rstrip("/")
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise SettingsError(f"{PREFIX}{name} is not an http or https address: {text}")
        return text

    def brokers(self) -> dict[str, str]:
        """Tokens by the broker's name: the secret is a JSON object."""
        try:
            brokers: Any = json.loads(self.secret("BROKERS"))
        except json.JSONDecodeError as error:
            raise SettingsError(f"{PREFIX}BROKERS does not refer to JSON: {error}") from error
        if not isinstance(brokers, dict) or not all(
            isinstance(each, str) and each for each in brokers.values()
        ):
            raise SettingsError(f"{PREFIX}BROKERS must be an object of names and tokens")
        return brokers

    def listen(self) -> tuple[str, int]:
        """Address and port to listen on."""
        address, _, port = self.text("LISTEN", "127.0.0.1:8080").rpartition(":")
        if not address or not port.isdigit():
            raise SettingsError(f"{PREFIX}LISTEN must be ADDRESS:PORT")
        return address, int(port)

    def swift(self, prefix: str = "SWIFT") -> SwiftSettings | None:
        """The cluster whose variables begin with ``prefix``; None when it is not configured."""
        if f"{PREFIX}{prefix}_AUTH_URL" not in self._variables:
            return None
        return SwiftSettings(
            site=self.text(f"{prefix}_SITE", self.text("SITE")),
            auth_url=self.url(f"{prefix}_AUTH_URL"),
            user=self.text(f"{prefix}_USER"),
            key=self.secret(f"{prefix}_KEY"),
            container=self.text(f"{prefix}_CONTAINER", "documents"),
            temp_url_key=self.optional_secret(f"{prefix}_TEMP_URL_KEY"),
            public_url=self.text(f"{prefix}_PUBLIC_URL", "").rstrip("/") or None,
            ca_file=self.text(f"{prefix}_CA_FILE", "") or None,
            sync=self._sync(),
            domain=self.text(f"{prefix}_DOMAIN", "Default"),
            url=self.text(f"{prefix}_URL", "").rstrip("/") or None,
        )

    def _sync(self) -> SyncSettings | None:
        """How to write both sites under one timestamp; None: each document is written here and carried."""
        realm = self.text("SYNC_REALM", "")
        if not realm:
            return None
        return SyncSettings(realm, self.secret("SYNC_REALM_KEY"), self.secret("SYNC_CONTAINER_KEY"))

    def _resolve(self, name: str, reference: str) -> str:
        kind, _, where = reference.partition(":")
        try:
            if kind == "file":
                return Path(where).read_text(encoding="utf-8").strip()
            if kind == "env":
                return self._variables[where]
        except (OSError, KeyError) as error:
            raise SettingsError(f"{name}: cannot read {reference}: {error}") from error
        raise SettingsError(f"{name} must be file:PATH or env:NAME")


def from_environment() -> Settings:
    """The settings of this process."""
    return Settings(os.environ)
