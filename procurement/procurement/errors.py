"""What can go wrong, and what the caller may conclude from it.

ProcurementError
  ApiError              an answer of the API: nothing was changed, here is why
  Unavailable           nothing was changed; the database or the storage does not do its part now
  UnknownOutcome        it may or may not have happened: never an acknowledgement
  StaleEpoch            a newer leader exists: whoever sees this must stop acting
  SettingsError         the process cannot start with the settings that it was given
"""

from typing import Any


class ProcurementError(Exception):
    """The root of all errors raised here."""


class ApiError(ProcurementError):
    """One error in the shape of the public API: status, where, which name, and what is wrong with it."""

    def __init__(self, status: int, location: str, name: str, description: Any) -> None:
        self.status = status
        self.location = location
        self.name = name
        self.description = description
        super().__init__(f"{status} {location} {name}: {description}")


class Unavailable(ProcurementError):
    """Nothing was changed, and the same request may be sent again."""


class UnknownOutcome(ProcurementError):
    """The change may be lost or may be there; the client must find out by reading."""


class StaleEpoch(ProcurementError):
    """The role's epoch is not ours: somebody else leads."""


class SettingsError(ProcurementError):
    """The environment of the process is wrong; the sentence says which variable and how."""


def forbidden() -> ApiError:
    """Who asks may not do that."""
    return ApiError(403, "url", "permission", "Forbidden")


def not_found(name: str) -> ApiError:
    """``name`` is the identifier in the URL that leads nowhere."""
    return ApiError(404, "url", name, "Not Found")


def unprocessable(name: str, description: Any) -> ApiError:
    """``name`` is a field of the body."""
    return ApiError(422, "body", name, description)


def not_now(description: str) -> ApiError:
    """The tender is in a state in which this is not done."""
    return ApiError(403, "body", "data", description)
