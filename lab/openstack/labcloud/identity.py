"""Keystone's own part: who exists (baked), and what only this lab may know (made at each unpacking)."""

import base64
import os
import sqlite3
from http import HTTPStatus
from pathlib import Path
from typing import Any

import bcrypt
from werkzeug.test import Client

from labcloud import names
from labcloud.settings import Settings

ROLES = {"admin": ("admin",), "service": ("admin", "service"), names.TENANT: ("admin", "member", "reader")}
"""What the user of each name may do in the project of that name."""


def make_keys(state: Path) -> None:
    """Fresh token and credential keys, as ``keystone-manage fernet_setup`` lays them out."""
    for repository in ("fernet", "credential"):
        for index in ("0", "1"):
            file = state / repository / index
            file.touch(mode=0o600)
            file.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))


def set_passwords(state: Path, settings: Settings) -> None:
    """Put this lab's passwords in place of those that the state was baked with."""
    with sqlite3.connect(state / "db" / "keystone.db") as database:
        for user, password in settings.passwords.items():
            digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
            database.execute(
                "UPDATE password SET password_hash = ? WHERE local_user_id ="
                " (SELECT id FROM local_user WHERE name = ?)",
                (digest, user),
            )
    database.close()


class Seeder:
    """Fills an empty Keystone through its API, without a socket. ``bootstrap`` has made the user admin."""

    def __init__(self, application: Any, password: str) -> None:
        self._client = Client(application)
        self._token = ""
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        user = {"name": "admin", "password": password, "domain": {"id": "default"}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        self._token = self._call("POST", "auth/tokens", body).headers["X-Subject-Token"]
        roles = self._call("GET", "roles").get_json()["roles"]
        self._roles = {role["name"]: role["id"] for role in roles}

    def seed(self, settings: Settings) -> None:
        """The users of ``ROLES`` with a project each, and the catalogue."""
        for name in set(ROLES) - {"admin"}:
            project = self._make("project", name=name, domain_id="default")
            user = self._make(
                "user",
                name=name,
                domain_id="default",
                password=settings.passwords[name],
                default_project_id=project,
            )
            for role in ROLES[name]:
                self._call("PUT", f"projects/{project}/users/{user}/roles/{self._roles[role]}")
        for service in set(names.PORTS) - {"identity"}:  # bootstrap has entered that one
            made = self._make("service", type=service, name=names.PROJECTS[service])
            for interface in ("public", "internal", "admin"):
                self._make(
                    "endpoint",
                    service_id=made,
                    interface=interface,
                    region_id=names.REGION,
                    url=names.endpoint(service),
                )

    def _make(self, kind: str, **fields: str) -> str:
        """Create one; return its id."""
        answer = self._call("POST", f"{kind}s", {kind: fields}).get_json()
        return str(answer[kind]["id"])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._client.open(
            f"/v3/{path}", method=method, json=body, headers={"X-Auth-Token": self._token}
        )
        if answer.status_code < HTTPStatus.BAD_REQUEST:
            return answer
        raise RuntimeError(f"{method} {path}: {answer.status} {answer.get_data(as_text=True)}")
