"""``ports.Sites`` in ZooKeeper: ``/dcctl/<environment>/sites/<site>``, one JSON object each.

The node's version is what a change is compared with. A create or a set that is repeated after its answer
was lost finds its own words there, which is no conflict.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError

from dcctl.adapters.zookeeper.session import ZooKeeperSession
from dcctl.domain.traffic import Rotation, SiteState
from dcctl.errors import Refused, Rejected


class ZooKeeperSites:
    """The ``sites`` of ``environment`` through ``session``; ``limit_s`` bounds each request."""

    def __init__(
        self, session: ZooKeeperSession, environment: str, sites: Sequence[str], *, limit_s: float
    ) -> None:
        self._session = session
        self._folder = f"/dcctl/{environment}/sites"
        self._sites = tuple(sites)
        self._limit_s = limit_s

    def observe_sites(self) -> tuple[SiteState, ...]:
        return tuple(self._observe(site) for site in self._sites)

    def change_site(self, state: SiteState, *, expected: int | None) -> SiteState:
        tried = f"change the state of {state.site}"
        client, path, note = self._session.client, self._path(state.site), _note(state)
        try:
            if expected is None:
                create = partial(client.create_async, path, note, makepath=True)
                self._session.ask(tried, create, self._limit_s)
                return replace(state, version=0)
            stat = self._session.ask(
                tried, lambda: client.set_async(path, note, version=expected), self._limit_s
            )
            return replace(state, version=stat.version)
        except (NodeExistsError, BadVersionError, NoNodeError) as error:
            return self._ours_or_refused(tried, state, error)

    def _ours_or_refused(self, tried: str, state: SiteState, error: Exception) -> SiteState:
        now = self._observe(state.site)
        if now.version is not None and replace(now, version=None) == replace(state, version=None):
            return now
        reason = f"{now.by or 'somebody'} made {now.site} {now.state} meanwhile"
        raise Refused(tried, reasons=(reason,), next_command="dcctl status") from error

    def _observe(self, site: str) -> SiteState:
        answer = self._session.read(self._path(site), self._limit_s)
        if answer is None:
            return _unwritten(site)
        content, stat = answer
        return _state(site, content, stat.version)

    def _path(self, site: str) -> str:
        return f"{self._folder}/{site}"


def read_states(
    read: Callable[..., tuple[bytes | None, ...]], environment: str, sites: Sequence[str]
) -> tuple[SiteState, ...]:
    """The same without a session, for looking only: ``read`` is ``ZooKeeperVoters.read``."""
    contents = read(*(f"/dcctl/{environment}/sites/{site}" for site in sites))
    return tuple(
        SiteState(site) if content is None else _state(site, content, 0)
        for site, content in zip(sites, contents, strict=True)
    )


def _note(state: SiteState) -> bytes:
    note = {
        "state": state.state,
        "reason": state.reason,
        "by": state.by,
        "at": state.at.isoformat() if state.at else None,
        "run": state.run,
    }
    return json.dumps(note, separators=(",", ":")).encode()


# Whoever steers by what is wanted reads the same words twice a second.


@lru_cache(maxsize=16)
def _unwritten(site: str) -> SiteState:
    return SiteState(site)


@lru_cache(maxsize=64)
def _state(site: str, content: bytes, version: int) -> SiteState:
    try:
        fields: dict[str, Any] = json.loads(content)
        return SiteState(
            site=site,
            state=Rotation(fields["state"]),
            reason=str(fields.get("reason", "")),
            by=str(fields.get("by", "")),
            at=datetime.fromisoformat(fields["at"]) if fields.get("at") else None,
            run=str(fields.get("run", "")),
            version=version,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Rejected("read the state of a site", on=site, saw=f"not ours: {content[:60]!r}") from error
