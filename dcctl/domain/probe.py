"""What is probed, what a probe saw, and what may be concluded from that (docs/reference/probe.md).

Two invariants, which ``decide_health`` keeps and its tests try to break:

1. A probe that died, or that had no time to look, never counts as healthy: nothing was learned, and
   nothing learned is UNKNOWN. A target that did not answer in time has failed.
2. A stale result never counts as down, nor as up: whoever went silent may be the prober. It is UNKNOWN.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

TIMEOUT_S = 2.0
RISE = 2
FALL = 3
CLOCK_SKEW_S = 1.0
"""How far a machine's clock may be from ours before its probe fails."""
TLS_DAYS = 14.0
"""How many days a certificate must still be valid."""
DISK_USED_PERCENT = 90.0
SPARE_S = 1.0
"""A probe that ended later than this after its limit says that the prober stood still."""


class Health(StrEnum):
    """What may be concluded about a target."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """GET ``url``: one of ``status`` (empty: any below 500), and ``body`` (a regular expression) in it.

    ``ca_file``: the authority that signed the server's certificate, where the system does not know it.
    """

    url: str
    status: tuple[int, ...] = (200,)
    body: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """A connection is accepted."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class TlsCheck:
    """The certificate: its chain and name are verified, and ``days`` are left of its validity."""

    address: str
    port: int
    ca_file: str = ""
    days: float = TLS_DAYS


@dataclass(frozen=True, slots=True)
class PostgresqlCheck:
    """Log in through libpq and SELECT. ``primary``: whether it must be writable; None takes either.

    ``secret`` is the name of the password among the configuration's secrets.
    """

    address: str
    port: int
    user: str
    database: str
    secret: str
    primary: bool | None = None


@dataclass(frozen=True, slots=True)
class PatroniCheck:
    """``GET /patroni``, which a member answers from its memory; never ``/cluster``
    (docs/explanation/limits.md). It must be running."""

    url: str


@dataclass(frozen=True, slots=True)
class ZookeeperCheck:
    """``srvr``: the server must belong to a quorum."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class SwiftCheck:
    """Put an object that nobody else names, get it, compare the hash, delete it.

    ``secret`` is the name of ``user``'s key among the configuration's secrets.
    """

    auth_url: str
    user: str
    secret: str
    container: str = "dcctl-probe"


@dataclass(frozen=True, slots=True)
class CloudCheck:
    """An authenticated call to the API of the cloud of ``site``."""

    site: str


@dataclass(frozen=True, slots=True)
class ClockCheck:
    """The clock of a machine against ours, over SSH, or by the ``Date`` of ``url`` (whole seconds)."""

    machine: str
    url: str = ""
    limit_s: float = CLOCK_SKEW_S


@dataclass(frozen=True, slots=True)
class DiskCheck:
    """How full the file system of ``path`` is, in bytes and in files, over SSH."""

    machine: str
    path: str = "/"
    used_percent: float = DISK_USED_PERCENT


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """A command over SSH ends with ``status``, and ``output`` (a regular expression) is in what it says."""

    machine: str
    argv: tuple[str, ...]
    status: int = 0
    output: str = ""


Check: TypeAlias = (
    HttpCheck
    | TcpCheck
    | TlsCheck
    | PostgresqlCheck
    | PatroniCheck
    | ZookeeperCheck
    | SwiftCheck
    | CloudCheck
    | ClockCheck
    | DiskCheck
    | CommandCheck
)
KINDS: dict[type[Check], str] = {
    HttpCheck: "http",
    TcpCheck: "tcp",
    TlsCheck: "tls",
    PostgresqlCheck: "postgresql",
    PatroniCheck: "patroni",
    ZookeeperCheck: "zookeeper",
    SwiftCheck: "swift",
    CloudCheck: "cloud",
    ClockCheck: "clock",
    DiskCheck: "disk",
    CommandCheck: "command",
}


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """One probe. ``name`` is ``<target>/<what>``, once per environment; ``target`` a machine or a site,
    ``site`` the place where it is (``witness`` for the witness). It ends within ``timeout_s``, always.

    ``rise`` results in a row that are right make the target UP, ``fall`` that are wrong make it DOWN.
    """

    name: str
    target: str
    site: str
    check: Check
    timeout_s: float = TIMEOUT_S
    rise: int = RISE
    fall: int = FALL

    @property
    def kind(self) -> str:
        return KINDS[type(self.check)]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe saw at ``at``, when it began.

    ``ok``: True, the target is as it should be; False, it is not, or did not answer in time; None, the
    probe itself failed and nothing was learned. ``saw`` says it in words. ``figure`` is the number that
    the kind measures (days left, seconds of skew, percent used, bytes…), if any. ``answered``: something
    came back, be it a refusal: where anything answers, the place is not dark. ``health`` is what this
    prober concludes from this and its earlier results.
    """

    name: str
    target: str
    kind: str
    site: str
    ok: bool | None
    saw: str
    took_s: float
    at: datetime
    figure: float | None = None
    answered: bool = False
    health: Health = field(default=Health.UNKNOWN)


def decide_health(
    history: Sequence[ProbeResult],
    rise: int = RISE,
    fall: int = FALL,
    *,
    now: datetime | None = None,
    fresh_for: timedelta = timedelta(seconds=30),
) -> Health:
    """What may be concluded from one probe's results, oldest first.

    UP after ``rise`` right ones in a row, DOWN after ``fall`` wrong ones in a row; in between it stays
    what it was. A result from which nothing was learned, and a silence longer than ``fresh_for`` between
    two results or until ``now``, make it UNKNOWN, and the counting begins anew.
    """
    health, run, before = Health.UNKNOWN, 0, None
    for result in history:
        if before is not None and not _follows(before, result.at, fresh_for):
            health, run = Health.UNKNOWN, 0
        before = result.at
        if result.ok is None:
            health, run = Health.UNKNOWN, 0
            continue
        run = run + 1 if run > 0 and result.ok else run - 1 if run < 0 and not result.ok else _first(result)
        if run >= rise:
            health = Health.UP
        elif -run >= fall:
            health = Health.DOWN
    if before is None or (now is not None and not _follows(before, now, fresh_for)):
        return Health.UNKNOWN
    return health


def _first(result: ProbeResult) -> int:
    return 1 if result.ok else -1


def _follows(before: datetime, after: datetime, fresh_for: timedelta) -> bool:
    """Whether ``after`` is not too long after ``before``; clocks may differ by as much the other way."""
    return abs(after - before) <= fresh_for
