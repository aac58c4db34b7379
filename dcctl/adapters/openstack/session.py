"""One login to one OpenStack cloud: where the credentials come from, limits, and bounded waits."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import keystoneauth1.exceptions
import keystoneauth1.session
import openstack.config
import openstack.connection
import openstack.exceptions
import requests
import tenacity

from dcctl.adapters.openstack.faults import as_ours, place
from dcctl.errors import ConfigurationError, CredentialsRefused, Problem, TimedOut

T = TypeVar("T")

MICROVERSION = "2.87"
"""Of every compute call. Servers come with their flavour (2.47), a cold migration takes a host (2.56), and
hypervisors still come with their memory, which 2.88 took away. Every Nova since Victoria (2020) speaks it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each kind of call may take, in seconds.

    ``connect_s`` also bounds how long sent data may stay without an acknowledgement, so that a site which
    went dark is noticed as fast on an old connection as on a new one. A call is a few requests at most.
    """

    connect_s: float = 2.5
    answer_s: float = 20.0
    task_s: float = 120.0
    create_s: float = 900.0


class Session:
    """Threads may share it. Nothing is read or sent before the first call."""

    def __init__(self, *, site: str, cloud: str | None, clouds_file: str | None, limits: Limits) -> None:
        self.site = site
        self.limits = limits
        self._cloud = cloud
        self._clouds_file = clouds_file
        self._lock = threading.Lock()
        self._connection: openstack.connection.Connection | None = None
        self._refused: CredentialsRefused | None = None

    def call(self, tried: str, function: Callable[[Any], T], *, on: str = "") -> T:
        """Run ``function`` with the SDK's connection; vendors' errors become ours."""
        if self._refused is not None:  # once is enough: clouds lock accounts that insist
            raise self._refused
        try:
            return function(self._connected())
        except Exception as error:
            ours = as_ours(error, site=self.site, tried=tried, on=on)
            if ours is error:
                raise
            if isinstance(ours, CredentialsRefused):
                self._refused = ours
            raise ours from error

    def wait(
        self, tried: str, look: Callable[[], T], *, until: Callable[[T], bool], on: str, limit_s: float
    ) -> T:
        """Look again and again, 0.2 to 1 s apart, and return what was seen first that is as wanted.

        Raises TimedOut after ``limit_s`` seconds; the cloud may be at it still.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_not_result(until),
            wait=tenacity.wait_exponential(multiplier=0.2, exp_base=1.5, max=1.0),
            stop=tenacity.stop_after_delay(limit_s),
        )
        try:
            return retrying(look)
        except tenacity.RetryError as error:
            saw = f"not done after {limit_s:g} s; the cloud may still be at it"
            raise TimedOut(tried, on=place(on, self.site), saw=saw, next_command="dcctl status") from error

    def close(self) -> None:
        """Hang up. The next call would connect again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _connected(self) -> openstack.connection.Connection:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection

    def _connect(self) -> openstack.connection.Connection:
        """No request is made yet. Raises ConfigurationError."""
        try:
            loader = openstack.config.OpenStackConfig(
                config_files=[self._clouds_file] if self._clouds_file else None,
                load_envvars=self._clouds_file is None,
                app_name="dcctl",
            )
            region = loader.get_one(cloud=self._cloud, compute_default_microversion=MICROVERSION)
            self._limit(region.get_session())
            return openstack.connection.Connection(config=region)
        except (
            openstack.exceptions.ConfigException,
            keystoneauth1.exceptions.AuthPluginException,
        ) as error:
            problem = Problem(self._clouds_file or "clouds.yaml or OS_*", 0, 0, f"{self.site}: {error}")
            raise ConfigurationError((problem,)) from error

    def _limit(self, session: keystoneauth1.session.Session) -> None:
        limits = self.limits
        session.timeout = (limits.connect_s, limits.answer_s)  # type: ignore[assignment]  # as requests takes it
        for scheme in ("https://", "http://"):
            session.session.mount(scheme, _ImpatientAdapter(limits.connect_s))


class _ImpatientAdapter(requests.adapters.HTTPAdapter):
    """No patience for a peer that does not even acknowledge, neither data nor the probes between (tcp(7))."""

    def __init__(self, unacknowledged_s: float) -> None:
        self._options = [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unacknowledged_s * 1000)),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(unacknowledged_s))),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
        ]
        super().__init__()

    def init_poolmanager(self, *args: Any, **arguments: Any) -> None:
        super().init_poolmanager(*args, **arguments, socket_options=self._options)
