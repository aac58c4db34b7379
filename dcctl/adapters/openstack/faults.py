"""The only place where OpenStack's, TLS's and the network's errors become ``dcctl.errors``.

openstacksdk raises its own exceptions for what an API answers, and lets keystoneauth's through for
authentication, the catalogue and the network. Both trees are told apart by what the caller may do next.
"""

import ssl
from collections.abc import Iterator

import keystoneauth1.exceptions as auth
import openstack.exceptions as sdk
import requests
import urllib3

from dcctl.errors import CredentialsRefused, DcctlError, NotFound, Rejected, TimedOut, Unreachable

VENDOR = (
    sdk.SDKException,
    auth.ClientException,
    auth.RetriableConnectionFailure,
    auth.ImpliedVersionMismatch,
)
"""The roots: whatever either library raises on purpose is below one of these."""

ANSWERS: dict[int, type[DcctlError]] = {
    401: CredentialsRefused,
    404: NotFound,
    408: TimedOut,
    410: NotFound,
    502: Unreachable,
    503: Unreachable,
    504: TimedOut,
}
"""Our kind for an HTTP status; any other is Rejected."""

KINDS: tuple[tuple[type[Exception], type[DcctlError]], ...] = (
    # the first that fits is taken
    (auth.AuthorizationFailure, CredentialsRefused),
    (auth.MissingAuthMethods, CredentialsRefused),  # a second factor, which we have not
    (auth.AuthPluginException, CredentialsRefused),
    (auth.CatalogException, NotFound),
    (auth.ServiceProviderNotFound, NotFound),
    (auth.DiscoveryFailure, Unreachable),
    (auth.ConnectionError, Unreachable),
    (auth.RetriableConnectionFailure, Unreachable),
    (auth.InvalidResponse, Unreachable),
    (auth.ImpliedVersionMismatch, Rejected),
    (sdk.EndpointNotFound, NotFound),
    (sdk.NotFoundException, NotFound),  # without a status: a look-up by name that found nothing
    (sdk.HttpException, Rejected),
    (sdk.ServiceDiscoveryException, Unreachable),
    (sdk.InvalidResponse, Unreachable),
    (sdk.ResourceTimeout, TimedOut),
    (sdk.ResourceFailure, Rejected),
    (sdk.ConfigException, Rejected),
    (sdk.DuplicateResource, Rejected),
    (sdk.InvalidRequest, Rejected),
    (sdk.InvalidResourceQuery, Rejected),
    (sdk.MethodNotSupported, Rejected),
    (sdk.NotSupported, Rejected),
    (sdk.ValidationException, Rejected),
)
"""Our kind for what is not an HTTP answer. A test walks both trees: each exception is here, or a status."""


def place(on: str, site: str) -> str:
    """What an error happened on, for people."""
    return f"{on} at {site}" if on else site


def as_ours(error: Exception, *, site: str, tried: str, on: str) -> Exception:
    """``error`` as one of ours, if it is a vendor's; a bug stays what it is."""
    if not isinstance(error, VENDOR):
        return error
    kind = kind_of(error) or Unreachable
    next_command = "dcctl status" if issubclass(kind, Unreachable) and not issubclass(kind, Rejected) else ""
    return kind(tried, on=place(on, site), saw=saw(error), next_command=next_command)


def kind_of(error: Exception) -> type[DcctlError] | None:
    """Our kind for a vendor's exception; None for one that this module does not know."""
    if (status := status_of(error)) is not None:
        return ANSWERS.get(status, Rejected)
    if isinstance(error, auth.ConnectionError) and _was_sent(error):
        return TimedOut
    return next((ours for vendor, ours in KINDS if isinstance(error, vendor)), None)


def status_of(error: Exception) -> int | None:
    """The HTTP status that the exception stands for, if it stands for one."""
    match error:
        case auth.HttpError():
            return error.http_status or type(error).http_status or None
        case sdk.HttpException():
            return error.status_code
    return None


def saw(error: Exception) -> str:
    """What the cloud said, or what happened on the way to it, in one line."""
    match error:
        case sdk.HttpException():
            text = str(error.details or error.message)
        case auth.HttpError():
            text = str(error.details or error.message)
        case auth.SSLError():
            text = f"no trusted TLS connection: {_tls_cause(error)}"
        case auth.ConnectionError():
            text = "no answer in time" if _was_sent(error) else f"no connection: {_network_cause(error)}"
        case _:
            text = str(error)
    line = " ".join(text.split()) or type(error).__name__
    return f"{line} (HTTP {status})" if (status := status_of(error)) else line


def _was_sent(error: Exception) -> bool:
    """Whether a connection stood and then no answer came: the request may have taken effect."""
    chain = list(_chain(error))
    never = (requests.exceptions.ConnectTimeout, urllib3.exceptions.NewConnectionError)
    late = (requests.exceptions.ReadTimeout, TimeoutError)
    return not any(isinstance(each, never) for each in chain) and any(
        isinstance(each, late) for each in chain
    )


def _network_cause(error: Exception) -> str:
    for each in reversed(list(_chain(error))):
        if isinstance(each, TimeoutError):
            return "no answer in time"
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    return "no answer in time" if isinstance(error, auth.ConnectTimeout) else str(error)


def _tls_cause(error: Exception) -> str:
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
    return str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what led to it: its cause, its context, or an argument, as urllib3 passes it."""
    seen: set[int] = set()
    left: list[object] = [error]
    while left:
        each = left.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            left += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
