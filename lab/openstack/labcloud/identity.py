"""Who exists, and which service is where: Keystone's content, made when the state is baked."""

from http import HTTPStatus
from typing import Any

from werkzeug.test import Client

from labcloud import names
from labcloud.settings import Settings

ROLES = {"admin": ("admin",), "service": ("admin", "service"), names.TENANT: ("admin", "member", "reader")}
"""What the user of each name may do in the project of that name."""


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
