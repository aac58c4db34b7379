"""Every way in which OpenStack and its libraries say no ends in an error of ours that names the cause."""

import importlib
import pkgutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import keystoneauth1.exceptions as auth
import openstack.exceptions as sdk
import pytest
import yaml

from dcctl.adapters.openstack import Limits, OpenStackMachines, OpenStackSite, faults
from dcctl.errors import (
    ConfigurationError,
    CredentialsRefused,
    DcctlError,
    NotFound,
    Rejected,
    TimedOut,
    Unreachable,
)

LIMITS = Limits(connect_s=0.4, answer_s=0.4, task_s=1, create_s=1)


def below(root: type) -> set[type]:
    return {root}.union(*(below(each) for each in root.__subclasses__()))


def vendors() -> list[type[Exception]]:
    """All exceptions that the two libraries declare, but those of an older layer that we do not use."""
    for module in pkgutil.iter_modules(auth.__path__, f"{auth.__name__}."):
        importlib.import_module(module.name)
    found = set().union(*(below(root) for root in faults.VENDOR))
    ours = {each for each in found if each.__module__.startswith(("keystoneauth1.", "openstack.exceptions"))}
    return sorted(ours, key=lambda each: (each.__module__, each.__qualname__))


def made(kind: type[Exception]) -> Exception:
    """One of that kind, without the ceremony that each constructor has."""
    error = kind.__new__(kind)
    error.args = ("it said no",)
    for name, value in {"status_code": None, "details": None, "message": "it said no"}.items():
        if issubclass(kind, sdk.HttpException):
            setattr(error, name, value)
    if issubclass(kind, auth.HttpError):
        error.http_status, error.details, error.message = kind.http_status, None, "it said no"  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("kind", vendors(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_exception_of_the_libraries_has_a_kind(kind: type[Exception]) -> None:
    if kind in (*faults.VENDOR, auth.HttpError, auth.HTTPClientError, auth.HttpServerError):
        return  # never raised as such
    assert faults.kind_of(made(kind)) is not None, "it is missing in faults.KINDS"
    ours = faults.as_ours(made(kind), site="east", tried="list the servers", on="east-db-1")
    assert str(ours).startswith("list the servers on east-db-1 at east: ")
    assert "it said no" in str(ours) or kind is auth.ConnectTimeout  # whose own words say less than ours


def test_an_unknown_exception_is_noticed_here_and_harmless_there() -> None:
    class BrandNew(sdk.SDKException):
        pass

    error = BrandNew("new in some release")
    assert faults.kind_of(error) is None
    assert type(faults.as_ours(error, site="east", tried="try", on="")) is Unreachable


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (auth.Unauthorized("wrong password"), CredentialsRefused),
        (auth.MissingRequiredOptions([]), CredentialsRefused),
        (auth.NotFound("no such thing"), NotFound),
        (auth.Forbidden("not yours"), Rejected),
        (auth.RequestTimeout(), TimedOut),
        (auth.GatewayTimeout(), TimedOut),
        (auth.ServiceUnavailable(), Unreachable),
        (auth.EndpointNotFound("no compute in the catalogue"), NotFound),
        (auth.ConnectFailure("refused"), Unreachable),
        (sdk.NotFoundException("no image"), NotFound),
        (sdk.ConflictException("busy", http_status=409), Rejected),
        (sdk.ForbiddenException("quota exceeded", http_status=403), Rejected),
        (sdk.BadRequestException("bad", http_status=400), Rejected),
        (sdk.HttpException("too many", http_status=429), Rejected),
        (sdk.HttpException("gateway", http_status=502), Unreachable),
        (sdk.ResourceTimeout("slow"), TimedOut),
        (sdk.ResourceFailure("in ERROR"), Rejected),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_what_the_caller_may_do_next_decides_the_kind(error: Exception, kind: type[DcctlError]) -> None:
    assert type(faults.as_ours(error, site="east", tried="try", on="")) is kind


def test_a_bug_stays_what_it_is() -> None:
    bug = KeyError("x")
    assert faults.as_ours(bug, site="east", tried="try", on="") is bug


# The network, with sockets that behave badly


def machines(tmp_path: Path, auth_url: str, **auth: str) -> OpenStackMachines:
    credentials = {
        "auth_url": auth_url,
        "username": "dcctl",
        "password": "secret",
        "project_name": "dcctl",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    cloud = {"auth_type": "v3password", "auth": {**credentials, **auth}}
    file = tmp_path / "clouds.yaml"
    file.write_text(yaml.safe_dump({"clouds": {"east": cloud}}))
    site = OpenStackSite(
        site="east", environment="lab", network="dcctl", cloud="east", clouds_file=str(file), limits=LIMITS
    )
    return OpenStackMachines(site)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        yield listening


def url(listening: socket.socket, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/v3"


def test_nobody_listens(tmp_path: Path, listener: socket.socket) -> None:
    with pytest.raises(Unreachable, match="no connection: Connection refused") as caught:
        machines(tmp_path, url(listener)).observe_servers()
    assert type(caught.value) is Unreachable


def test_nobody_answers_the_call_to_connect(tmp_path: Path, listener: socket.socket) -> None:
    listener.listen(0)
    with socket.socket() as first, socket.socket() as second:
        for filler in (first, second):  # the queue is full now, and the kernel drops what comes
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        began = time.monotonic()
        with pytest.raises(Unreachable, match="no connection: no answer in time") as caught:
            machines(tmp_path, url(listener)).observe_servers()
        assert type(caught.value) is Unreachable
        assert time.monotonic() - began < 5 * LIMITS.connect_s


def test_an_api_that_takes_the_request_and_says_nothing(tmp_path: Path, listener: socket.socket) -> None:
    listener.listen()
    began = time.monotonic()
    with pytest.raises(TimedOut, match="no answer in time"):
        machines(tmp_path, url(listener)).observe_servers()
    assert time.monotonic() - began < 5 * LIMITS.answer_s


# Where the credentials come from


def test_a_cloud_that_is_not_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text("clouds: {}\n")
    site = OpenStackSite(site="east", environment="lab", network="dcctl", cloud="east", clouds_file=str(file))
    with pytest.raises(ConfigurationError, match="Cloud east was not found") as caught:
        OpenStackMachines(site).observe_servers()
    assert str(file) in str(caught.value)


def test_a_way_to_log_in_that_does_not_exist(tmp_path: Path) -> None:
    configured = machines(tmp_path, "https://192.0.2.1/v3")
    file = tmp_path / "clouds.yaml"
    file.write_text(file.read_text().replace("v3password", "v9telepathy"))
    with pytest.raises(ConfigurationError, match="v9telepathy"):
        configured.observe_servers()


def test_the_usual_variables_are_honoured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listener: socket.socket
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in {
        "OS_AUTH_URL": url(listener),
        "OS_USERNAME": "dcctl",
        "OS_PASSWORD": "secret",
        "OS_PROJECT_NAME": "dcctl",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
    }.items():
        monkeypatch.setenv(name, value)
    site = OpenStackSite(site="east", environment="lab", network="dcctl", limits=LIMITS)
    with pytest.raises(Unreachable, match="Connection refused"):
        OpenStackMachines(site).observe_servers()


def test_a_file_named_by_the_usual_variable_is_honoured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listener: socket.socket
) -> None:
    machines(tmp_path, url(listener))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    site = OpenStackSite(site="east", environment="lab", network="dcctl", cloud="east", limits=LIMITS)
    with pytest.raises(Unreachable, match="Connection refused"):
        OpenStackMachines(site).observe_servers()
