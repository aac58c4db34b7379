"""Containers, keys and capabilities through python-swiftclient and an administrator's token.

Also the independent check of what the hot path wrote: another client, another kind of authorization.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import keystoneauth1.exceptions
import keystoneauth1.identity.v3
import keystoneauth1.session
import requests
import swiftclient

from dcctl.domain.replication_check import ClusterFacts, ContainerFacts
from dcctl.domain.replication_containers import MARK
from dcctl.errors import CredentialsRefused, NotFound, Rejected, Unreachable
from dcctl.ports import Clock

CALL_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Keystone:
    """Where a user of Keystone belongs."""

    project: str
    user_domain: str = "Default"
    project_domain: str = "Default"
    region: str | None = None


class SwiftAdministrator:
    """``ports.Account``: one cluster's account, with the rights of its owner."""

    def __init__(
        self,
        site: str,
        auth_url: str,
        user: str,
        password: str,
        clock: Clock,
        *,
        ca_file: str | None = None,
        keystone: Keystone | None = None,
        storage_url: str | None = None,
    ) -> None:
        """``keystone``: ``auth_url`` is Keystone's (v3); else it is Swift's own (v1).

        ``storage_url``: the account's, and not the one that the login tells. A user of another account is
        then refused; else it would set up its own.
        """
        self.site = site
        self._clock = clock
        if keystone is not None:
            login = _Login(
                storage_url,
                auth_url,
                username=user,
                password=password,
                project_name=keystone.project,
                user_domain_name=keystone.user_domain,
                project_domain_name=keystone.project_domain,
            )
            self._connection = swiftclient.Connection(
                session=keystoneauth1.session.Session(
                    auth=login, verify=ca_file or True, timeout=CALL_LIMIT_S
                ),
                os_options={"region_name": keystone.region} if keystone.region else {},
                retries=1,
                timeout=CALL_LIMIT_S,
                cacert=ca_file,
            )
            return
        self._connection = swiftclient.Connection(
            authurl=auth_url,
            user=user,
            key=password,
            auth_version="1",
            os_options={"object_storage_url": storage_url} if storage_url else {},
            retries=1,
            timeout=CALL_LIMIT_S,
            cacert=ca_file,
        )

    def observe_cluster(self) -> ClusterFacts:
        """What ``/info`` says, and how far the cluster's clock is from ours."""
        with self._translated("ask for capabilities", ""):
            info = self._connection.get_capabilities()
            before = self._clock.now()
            headers = self._connection.head_account()
            after = self._clock.now()
        date = parsedate_to_datetime(headers["date"])
        middle = before + (after - before) / 2
        realms = info.get("container_sync", {}).get("realms", {})
        return ClusterFacts(
            site=self.site,
            version=str(info.get("swift", {}).get("version", "")),
            capabilities=frozenset(info),
            realms=frozenset(str(name).lower() for name in realms),
            # Date is cut to whole seconds: half a second late on average
            skew_s=(date - middle).total_seconds() + 0.5,
            quota_bytes=_number(headers.get("x-account-meta-quota-bytes")),
            used_bytes=_number(headers.get("x-account-bytes-used")) or 0,
            policies=tuple(str(one["name"]) for one in info.get("swift", {}).get("policies", ())),
        )

    def observe_container(self, container: str) -> ContainerFacts | None:
        """How a container is set up; None when there is none."""
        try:
            with self._translated("look at a container", container):
                headers = self._connection.head_container(container)
        except NotFound:
            return None
        return ContainerFacts(
            site=self.site,
            container=container,
            has_key="x-container-sync-key" in headers,
            key=headers.get("x-container-sync-key", ""),
            sync_to=headers.get("x-container-sync-to", ""),
            versioned=any(
                name in headers
                for name in ("x-versions-enabled", "x-versions-location", "x-history-location")
            )
            and headers.get("x-versions-enabled", "True").lower() != "false",
            sharded=headers.get("x-container-sharding", "").lower() == "true",
            policy=headers.get("x-storage-policy", ""),
            objects=_number(headers.get("x-container-object-count")) or 0,
            quota_bytes=_number(headers.get("x-container-meta-quota-bytes")),
            used_bytes=_number(headers.get("x-container-bytes-used")) or 0,
            quota_count=_number(headers.get("x-container-meta-quota-count")),
            settings=_settings(headers),
            mark=headers.get(MARK, ""),
        )

    def ensure_container(self, container: str, key: str, *, mark: str | None = None) -> bool:
        """Make it, or give it our key and ``mark``; whether anything had to be changed."""
        found = self.observe_container(container)
        if found is not None and found.key == key and mark in (None, found.mark):
            return False
        headers = {"X-Container-Sync-Key": key, **({MARK: mark} if mark is not None else {})}
        with self._translated("make a container or set its key", container):
            self._connection.put_container(container, headers=headers)
        return True

    def remove_container(self, container: str) -> bool:
        """Remove it if it is empty, which the cluster judges; absent is done. False: it has objects."""
        try:
            with self._translated("remove a container", container):
                self._connection.delete_container(container)
        except NotFound:
            return True
        except Rejected as error:
            if getattr(error.__cause__, "http_status", 0) != requests.codes.conflict:
                raise
            return False
        return True

    def ensure_settings(self, container: str, settings: Mapping[str, str]) -> bool:
        """Make its ACLs and metadata what ``settings`` says; whether anything had to be changed."""
        found = self.observe_container(container)
        if found is not None and dict(found.settings) == dict(settings):
            return False
        gone = {name: "" for name in (found.settings if found else {}) if name not in settings}
        with self._translated("set a container's access and metadata", container):
            self._connection.post_container(container, headers={**gone, **settings})
        return True

    def containers(self, prefix: str = "") -> tuple[str, ...]:
        """All containers of the account whose names begin with ``prefix``."""
        with self._translated("list containers", prefix):
            _headers, found = self._connection.get_account(prefix=prefix, full_listing=True)
        return tuple(str(one["name"]) for one in found)

    def token(self) -> str:
        """A token of the owner's, by a new login."""
        with self._translated("log in", ""):
            _url, token = self._connection.get_auth()
        return str(token)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _translated(self, tried: str, what: str) -> Iterator[None]:
        on = f"{self.site}:{what}" if what else self.site
        try:
            yield
        except swiftclient.ClientException as error:
            status = getattr(error, "http_status", 0)
            saw = str(error).splitlines()[0]
            if status in (401, 403) or "Unauthorized" in saw:
                raise CredentialsRefused(tried, on=on, saw=saw) from error
            if status == 404:  # noqa: PLR2004
                raise NotFound(tried, on=on, saw=saw) from error
            raise (Rejected if 400 <= status < 500 else Unreachable)(tried, on=on, saw=saw) from error  # noqa: PLR2004
        except keystoneauth1.exceptions.Unauthorized as error:
            raise CredentialsRefused(tried, on=on, saw=f"Keystone: {error}") from error
        except (requests.RequestException, keystoneauth1.exceptions.ClientException, OSError) as error:
            raise Unreachable(tried, on=on, saw=str(error)) from error


class _Login(keystoneauth1.identity.v3.Password):
    """To an account whose address a catalogue need not tell: swiftclient asks for it in any case."""

    def __init__(self, storage_url: str | None, auth_url: str, **who: Any) -> None:
        super().__init__(auth_url, **who)
        self._storage_url = storage_url

    def get_endpoint(self, session: keystoneauth1.session.Session, *of: Any, **which: Any) -> str | None:
        return self._storage_url or super().get_endpoint(session, *of, **which)


def _settings(headers: Mapping[str, Any]) -> dict[str, str]:
    """What a person sets on a container: access and metadata, and nothing that is the cluster's own."""
    kept = ("x-container-read", "x-container-write")
    return {
        name: str(value)
        for name, value in headers.items()
        if name in kept or (name.startswith("x-container-meta-") and name != MARK)
    }


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
