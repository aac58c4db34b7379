"""One login to one vCenter: connecting, limits, reading in one round trip, and vCenter's errors as ours."""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

import tenacity
from pyVmomi import SoapStubAdapter, vim, vmodl

from dcctl.errors import CredentialsRefused, NotFound, Rejected, TimedOut, Unreachable

T = TypeVar("T")

API_VERSION = "vim.version.version11"
"""vSphere 6.5: the oldest that has all we use. Every newer vCenter speaks it too: nothing is negotiated."""

PENDING = (vim.TaskInfo.State.queued, vim.TaskInfo.State.running)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each kind of call may take, in seconds.

    ``connect_s`` also bounds how long sent data may stay without an acknowledgement, so that a site which
    went dark is noticed as fast on an old connection as on a new one.
    """

    connect_s: float = 2.5
    answer_s: float = 20.0
    task_s: float = 120.0
    forbid_s: float = 25.0
    """For each of two tasks that forbid an automatic restart, before the power is cut all the same."""
    clone_s: float = 900.0


class Session:
    """Threads may share it. Nothing is sent before the first call; ``close`` logs out."""

    def __init__(
        self, *, site: str, endpoint: str, username: str, password: str, ca_file: str, verify_tls: bool,
        limits: Limits,
    ) -> None:  # fmt: skip
        self.site = site
        self.limits = limits
        self._username = username
        self._password = password
        self._connect: Callable[[], SoapStubAdapter] = lambda: _stub(
            endpoint, _tls(site, ca_file, verify=verify_tls), limits
        )
        self._stub: SoapStubAdapter | None = None
        self._lock = threading.Lock()
        self._content: vim.ServiceInstanceContent | None = None
        self._refused: CredentialsRefused | None = None

    def call(self, tried: str, function: Callable[[vim.ServiceInstanceContent], T], *, on: str = "") -> T:
        """Run ``function`` logged in, once more if the session had expired, with its errors as ours."""
        try:
            content = self._logged_in()
            try:
                return function(content)
            except vim.fault.NotAuthenticated:
                return function(self._logged_in(instead_of=content))
        except Exception as error:
            raise as_ours(error, site=self.site, tried=tried, on=on) from error

    def _logged_in(self, instead_of: vim.ServiceInstanceContent | None = None) -> vim.ServiceInstanceContent:
        """The service's content, after a login where there is none or only the expired ``instead_of``."""
        with self._lock:
            if self._refused is not None:  # once is enough: vCenter locks accounts that insist
                raise self._refused
            if self._content is None or self._content is instead_of:
                self._stub = self._stub or self._connect()
                content = vim.ServiceInstance("ServiceInstance", self._stub).RetrieveContent()
                try:
                    content.sessionManager.Login(self._username, self._password)
                except (vim.fault.InvalidLogin, vim.fault.NoPermission) as error:
                    self._refused = CredentialsRefused(
                        f"log in as {self._username}", on=self.site, saw=said(error)
                    )
                    self._stub.DropConnections()
                    raise self._refused from error
                self._content = content
            return self._content

    def read(
        self, tried: str, *filters: vmodl.query.PropertyCollector.FilterSpec, on: str = ""
    ) -> dict[Any, dict[str, Any]]:
        """The properties asked for of every object selected, in one round trip (more only for huge answers).

        A property that is unset, or that we may not read, is left out.
        """

        def retrieve(content: vim.ServiceInstanceContent) -> dict[Any, dict[str, Any]]:
            found: dict[Any, dict[str, Any]] = {}
            collector = content.propertyCollector
            options = vmodl.query.PropertyCollector.RetrieveOptions()
            page = collector.RetrievePropertiesEx(specSet=list(filters), options=options)
            while page is not None:
                for item in page.objects:
                    refuse_expired(item)
                    properties = found.setdefault(item.obj, {})
                    properties.update((each.name, each.val) for each in item.propSet)
                page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None
            return found

        return self.call(tried, retrieve, on=on)

    def finish(
        self, tried: str, start: Callable[[], vim.Task], *, on: str, limit_s: float | None = None
    ) -> Any:
        """Start a task, wait until it has ended, and return its result.

        Its state is polled, not waited for by updates: a level that is read again cannot be missed.
        Raises Rejected with what the task says, TimedOut after ``limit_s`` seconds (the task runs on).
        """
        limit_s = limit_s or self.limits.task_s
        task = self.call(tried, lambda _content: start(), on=on)
        info = self.wait(
            tried,
            lambda: self.read(tried, select([task], {vim.Task: ["info"]}), on=on)[task]["info"],
            until=lambda info: info.state not in PENDING,
            on=on,
            limit_s=limit_s,
        )
        if info.state == vim.TaskInfo.State.error:
            raise as_ours(info.error, site=self.site, tried=tried, on=on)
        return info.result

    def wait(
        self, tried: str, look: Callable[[], T], *, until: Callable[[T], bool], on: str, limit_s: float
    ) -> T:
        """Look again and again, 20 ms to 1 s apart, and return what was seen first that is as wanted."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_not_result(until),
            wait=tenacity.wait_exponential(multiplier=0.02, exp_base=1.5, max=1.0),
            stop=tenacity.stop_after_delay(limit_s),
        )
        try:
            return retrying(look)
        except tenacity.RetryError as error:
            saw = f"not done after {limit_s:g} s; vCenter may still be at it"
            raise TimedOut(tried, on=place(on, self.site), saw=saw, next_command="dcctl status") from error

    def close(self) -> None:
        """Log out and hang up; a vCenter that does not answer is left alone. Never raises."""
        with self._lock:
            content, self._content = self._content, None
            try:
                if content is not None:
                    content.sessionManager.Logout()
            except (vmodl.MethodFault, OSError, http.client.HTTPException, ExpatError):
                pass  # the session ends by itself after a while
            finally:
                if self._stub is not None:
                    self._stub.DropConnections()


def refuse_expired(item: vmodl.query.PropertyCollector.ObjectContent) -> None:
    """Raise the fault that a reading without a session may hide in each property that it leaves out."""
    for missing in item.missingSet or ():
        if isinstance(missing.fault, vim.fault.NotAuthenticated):
            raise missing.fault


def select(
    objects: Iterable[vim.ManagedObject],
    properties: Mapping[type, list[str]],
    *along: vmodl.query.PropertyCollector.TraversalSpec,
) -> vmodl.query.PropertyCollector.FilterSpec:
    """Ask for ``properties``, by type, of the ``objects`` and of what is found ``along`` paths from them."""
    collector = vmodl.query.PropertyCollector
    return collector.FilterSpec(
        propSet=[collector.PropertySpec(type=kind, pathSet=paths) for kind, paths in properties.items()],
        objectSet=[collector.ObjectSpec(obj=each, selectSet=list(along)) for each in objects],
    )


def along(
    kind: type, path: str, *further: vmodl.query.PropertyCollector.SelectionSpec, name: str | None = None
) -> vmodl.query.PropertyCollector.TraversalSpec:
    """From an object of ``kind`` to what its property ``path`` refers to, and ``further`` from there."""
    return vmodl.query.PropertyCollector.TraversalSpec(
        name=name, type=kind, path=path, skip=False, selectSet=list(further)
    )


def again(name: str) -> vmodl.query.PropertyCollector.SelectionSpec:
    """The traversal of that ``name`` once more: how a tree is walked."""
    return vmodl.query.PropertyCollector.SelectionSpec(name=name)


def place(on: str, site: str) -> str:
    """What an error happened on, for people."""
    return f"{on} at {site}" if on else site


def as_ours(error: Exception, *, site: str, tried: str, on: str) -> Exception:
    """The only place where vCenter's, TLS's and the network's errors become ``dcctl.errors``."""
    where = place(on, site)
    match error:
        case vmodl.fault.ManagedObjectNotFound():
            return NotFound(tried, on=where, saw=said(error))
        case vim.fault.NotAuthenticated() | vim.fault.InvalidLogin():
            return CredentialsRefused(tried, on=where, saw=said(error))
        case vmodl.MethodFault():
            return Rejected(tried, on=where, saw=said(error))
        case OSError() | http.client.HTTPException() | ExpatError():
            kind = TimedOut if isinstance(error, TimeoutError) else Unreachable
            return kind(tried, on=where, saw=heard(error), next_command="dcctl status")
    return error  # one of ours already, or a bug


def heard(error: Exception) -> str:
    """What went wrong on the way to vCenter."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"no trusted TLS connection: {error.verify_message}"
        case ssl.SSLError():
            return f"no trusted TLS connection: {error}"
        case TimeoutError():
            return "no answer in time"
        case OSError():
            return error.strerror or str(error)
    return f"what answers there is no vCenter: {error or type(error).__name__}"


def said(fault: vmodl.MethodFault) -> str:
    """A fault in vCenter's own words, with its kind, which is what one looks up."""
    kind = type(fault).__name__.removeprefix("vim.fault.").removeprefix("vmodl.fault.")
    details = [each.message for each in fault.faultMessage or () if each.message]
    words = ". ".join(text.strip().rstrip(".") for text in (fault.msg, *details) if text and text.strip())
    return f"{words} ({kind})" if words else kind


def _tls(site: str, ca_file: str, *, verify: bool) -> ssl.SSLContext:
    if not verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        saw = f"{Path(ca_file)}: {error.strerror or error}"
        raise Unreachable("read the certificate authority", on=site, saw=saw) from error


def _stub(endpoint: str, tls: ssl.SSLContext, limits: Limits) -> SoapStubAdapter:
    url = urlsplit(endpoint)
    stub = SoapStubAdapter(
        host=url.hostname,
        port=url.port or 443,
        path=url.path.rstrip("/") or "/sdk",
        version=API_VERSION,
        sslContext=tls,
        httpConnectionTimeout=limits.answer_s,
        connectionPoolTimeout=60,
    )
    stub.scheme = lambda **arguments: _Connection(limits, **arguments)
    return stub


class _Connection(http.client.HTTPSConnection):
    """Short patience for connecting, longer for an answer, and none for a peer that stopped listening."""

    def __init__(self, limits: Limits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits

    def connect(self) -> None:
        self.timeout = self._limits.connect_s
        try:
            super().connect()
        except TimeoutError as error:
            raise ConnectionError(f"no connection within {self._limits.connect_s:g} s") from error
        connection: socket.socket = self.sock
        connection.settimeout(self._limits.answer_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._limits.connect_s * 1000))
