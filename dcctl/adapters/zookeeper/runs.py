"""``ports.Runs`` in ZooKeeper: ``/dcctl/<environment>/runs/{active,owner,<run>/{<number>,asked}}``.

``active`` says which run has the right to act and what it has begun; it is only ever changed against the
version that the writer saw or wrote last, so of two writers one succeeds. ``owner`` is ephemeral: it tells
whether the session of that run lives. An event of a run is one transaction: ``active`` at our version,
``owner``, and a node of its own. An intent that could not be kept so is not carried out.

A run whose last word is kept and whose session ended has given its right back with that word. Any other
whose session ended is taken over by a change of ``active``, and not before what it had begun must be over:
``active`` names the time limit of each, and whoever takes over has seen that very version for as long, by its
own clock. A run whose session ended and whose right nobody took goes on under its new session. A run that is
resumed takes the right in the same way under its own name, with a higher epoch: whoever had it before has
lost it with that very change.

``<run>/asked`` is what people ask of the run; it is changed against the version that was read.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

import tenacity
from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError

from dcctl.adapters.zookeeper.leases import ANY_VERSION, CONFLICTS
from dcctl.adapters.zookeeper.session import ZooKeeperSession
from dcctl.domain.event import Event
from dcctl.domain.rules import LastMove
from dcctl.domain.run import ENDS, ActiveRun, Asked, Ordered, Wish, decide_begin
from dcctl.errors import LeadershipLost, NotFound, Refused, Rejected, TimedOut, Unreachable
from dcctl.ports import Journal, Runs

ATTEMPT_S = 3.0
"""For one request; a call tries until its own limit, as an ensemble that elects its leader answers nobody."""
AGAIN_S = 0.3
EVENTS_VERSION = 0
TOLD = ("run.", "drill.", "undo.", "rule.", "deploy.failed")
"""Events by which other machines know what a run was whose journal is on its own disk: not its steps, of
which there may be hundreds, and which have begun and ended by then."""
TOLD_BYTES = 32 * 1024
"""One that names thousands of documents stays where it is: a node has room for 1 MiB."""


class ZooKeeperRuns:
    """The runs of ``environment`` through ``session``, whose end is the end of our run's life. ``who`` is
    this process, for people."""

    def __init__(self, session: ZooKeeperSession, environment: str, *, who: str) -> None:
        self._runs = f"/dcctl/{environment}/runs"
        self._who = who
        self._clock = session.clock
        self._session = session
        self._client = session.client
        self._seen: tuple[int, float] | None = None
        """The change of ``active`` seen last, and since when."""
        self._record: dict[str, Any] = {}
        """What ``active`` says while the right is ours."""
        self._version = 0
        self._known = False
        """Whether our run has events already: it is resumed."""
        self._moved: dict[str, str] | None = None
        """The last move, as ``active`` has it; whoever begins keeps it there."""
        self._begun: dict[str, float] = {}
        self._sleep: Callable[[float], None] = time.sleep

    def observe_active(self, *, limit_s: float) -> ActiveRun | None:
        return self._observe(limit_s)[0]

    def observe_last_move(self, *, limit_s: float) -> LastMove | None:
        answer = self._session.read(f"{self._runs}/active", limit_s)
        moved = _fields(answer[0]).get("moved") if answer is not None else None
        if moved is None:
            return None
        return LastMove(moved["what"], moved["site"], moved["run"], datetime.fromisoformat(moved["at"]))

    def begin(self, run: str, command: str, *, limit_s: float) -> None:
        deadline_s = self._clock() + limit_s
        self._again(self._ensure_nodes, limit_s)
        while True:
            active, version, epoch = self._again(self._observe, deadline_s - self._clock())
            why_not = decide_begin(active, run, command)
            if not why_not:
                record = {"run": run, "epoch": epoch + 1, "who": self._who, "command": command}
                if self._moved is not None:
                    record["moved"] = self._moved
                self._record, self._version, self._begun = record, version, {}
                self._known = self._again(self._is_kept, deadline_s - self._clock())
                if self._again(partial(self._change, f"begin {run}", []), deadline_s - self._clock()):
                    return
                continue  # another was faster: say which
            assert active is not None  # noqa: S101  # it is why not
            ends_s = active.free_in_s
            if active.alive or ends_s == 0 or self._clock() + ends_s > deadline_s:
                raise Refused("start a run", reasons=(why_not,), next_command=f"dcctl run show {active.run}")
            self._sleep(min(AGAIN_S, ends_s))

    def _is_kept(self, limit_s: float) -> bool:
        return self._session.read(f"{self._runs}/{self._record['run']}", limit_s) is not None

    def append(self, event: Event, *, limit_s: float) -> None:
        self._note(event)
        path = f"{self._runs}/{event.run}/{event.seq:06d}"
        write = partial(self._change, f"keep event {event.seq}", [(path, _event_note(event))])
        if not self._again(write, limit_s):
            raise LeadershipLost(
                f"go on with run {event.run}",
                saw=self._other(),
                next_command="dcctl run list",
            )

    def end(self, *, limit_s: float) -> None:
        if not self._record:
            return
        self._record, self._begun = {**self._record, "over": True}, {}
        self._again(partial(self._change, "end the run", []), limit_s)
        self._record = {}

    def events(self, run: str, *, limit_s: float) -> tuple[Event, ...]:
        folder = f"{self._runs}/{run}"
        numbers = [name for name in self._children(folder, limit_s) if name.isdigit()]
        # All at once: a run may have hundreds.
        asked = [
            self._session.sent(f"read {folder}/{name}", partial(self._client.get_async, f"{folder}/{name}"))
            for name in numbers
        ]
        found = (self._session.wait(f"read {folder}", each, limit_s) for each in asked)
        return tuple(_event(answer) for answer in found)

    def observe_ordered(self, run: str, *, limit_s: float) -> Ordered | None:
        answer = self._session.read(f"{self._runs}/{run}", limit_s)
        record = _fields(answer[0]) if answer is not None else {}
        return Ordered(str(record["who"]), str(record["command"])) if "command" in record else None

    def observe_runs(self, *, limit_s: float) -> tuple[str, ...]:
        return tuple(name for name in self._children(self._runs, limit_s) if name not in ("active", "owner"))

    def forget(self, run: str, *, limit_s: float) -> bool:
        """In one transaction with our right to act, which whoever resumes ``run`` has taken from us."""
        guards, folder = self.guards(), f"{self._runs}/{run}"
        if run == self._record["run"]:
            raise Refused("forget a run", on=run, reasons=("it is the one that acts",))
        answer = self._session.read(folder, limit_s)
        if answer is None:
            return True
        _asked_now, asked_version = self._read_asked(run, limit_s)
        change = self._client.transaction()
        for path, version in guards:
            change.check(path, version)
        for name in self._children(folder, limit_s):
            # An event is written once; what people ask is changed, and may have come after we looked.
            seen = EVENTS_VERSION if name.isdigit() else asked_version
            if seen is None:
                return False
            change.delete(f"{folder}/{name}", seen)
        change.delete(folder, answer[1].version)
        results = self._session.ask(f"forget {run}", change.commit_async, limit_s)
        if any(isinstance(each, (BadVersionError, NoNodeError)) for each in results[: len(guards)]):
            raise LeadershipLost(f"forget {run}", saw=self._other(), next_command="dcctl run list")
        return not any(isinstance(each, Exception) for each in results)

    def _children(self, folder: str, limit_s: float) -> list[str]:
        try:
            return sorted(
                self._session.ask(f"list {folder}", lambda: self._client.get_children_async(folder), limit_s)
            )
        except NoNodeError:
            return []

    # What people ask.

    def observe_asked(self, run: str, *, limit_s: float) -> tuple[Asked, ...]:
        return self._read_asked(run, limit_s)[0]

    def ask(self, run: str, asked: Asked, *, limit_s: float) -> None:
        self._rewrite_asked(run, limit_s, lambda kept: [*_without(kept, asked.wish, asked.step), asked])

    def withdraw(self, run: str, wish: Wish, *, limit_s: float) -> None:
        self._rewrite_asked(run, limit_s, lambda kept: [each for each in kept if each.wish is not wish])

    def _read_asked(self, run: str, limit_s: float) -> tuple[tuple[Asked, ...], int | None]:
        answer = self._session.read(f"{self._runs}/{run}/asked", limit_s)
        if answer is None:
            return (), None
        kept = _fields(answer[0]).get("asked", [])
        return tuple(_asked(each) for each in kept), answer[1].version

    def _rewrite_asked(
        self, run: str, limit_s: float, change: "Callable[[tuple[Asked, ...]], list[Asked]]"
    ) -> None:
        """By compare-and-set, as often as another was faster within ``limit_s``."""
        path, deadline_s = f"{self._runs}/{run}/asked", self._clock() + limit_s
        while True:
            kept, version = self._again(partial(self._read_asked, run), deadline_s - self._clock())
            wanted = change(kept)
            if list(kept) == wanted:
                return
            note = _note({"asked": [{**asdict(each), "at": each.at.isoformat()} for each in wanted]})
            request = (
                partial(self._client.create_async, path, note)
                if version is None
                else partial(self._client.set_async, path, note, version)
            )
            try:
                self._session.ask(f"change {path}", request, max(AGAIN_S, deadline_s - self._clock()))
            except NoNodeError as error:
                raise NotFound("ask a run", on=run, saw="nothing is kept of it in ZooKeeper") from error
            except (BadVersionError, NodeExistsError):
                continue
            return

    def guards(self) -> tuple[tuple[str, int], ...]:
        """Nodes and versions that hold only while our run has the right to act, for a transaction of
        something that this right is for. Raises LeadershipLost where it is not ours."""
        if not self._record:
            raise LeadershipLost(
                "act in a run", saw="no run of ours is active", next_command="dcctl run list"
            )
        return (f"{self._runs}/active", self._version), (f"{self._runs}/owner", ANY_VERSION)

    # One transaction.

    def _change(self, tried: str, nodes: list[tuple[str, bytes]], limit_s: float) -> bool:
        """``active`` and ``nodes`` in one transaction; False when another changed ``active`` meanwhile.

        One whose answer was lost is recognised by what it wrote: tried again, it is not done twice.
        """
        content = _note({**self._record, "doing": self._begun})
        owner = f"{self._runs}/owner"
        over = bool(self._record.get("over"))
        for known in (True, False):
            change = self._client.transaction()
            change.set_data(f"{self._runs}/active", content, self._version)
            if known:
                change.check(owner, ANY_VERSION)
            else:
                change.create(owner, self._who.encode(), ephemeral=True)
            if over:
                change.delete(owner)
            for path, value in nodes:
                change.create(path, value)
            if nodes == [] and not over:
                folder = f"{self._runs}/{self._record['run']}"
                change.set_data(folder, content, ANY_VERSION) if self._known else change.create(
                    folder, content
                )
            results = self._session.ask(tried, change.commit_async, limit_s)
            errors = [each for each in results if isinstance(each, Exception)]
            if not errors:
                self._version = results[0].version
                return True
            for each in errors:
                if not isinstance(each, CONFLICTS):
                    raise Rejected(tried, on="ZooKeeper", saw=type(each).__name__)
            if isinstance(errors[0], BadVersionError):
                return self._is_done(content, nodes, limit_s)
        # Neither is there an owner nor is there none: it changed in between.
        raise Unreachable(tried, on="ZooKeeper", saw="the session of the run changes hands")

    def _is_done(self, content: bytes, nodes: list[tuple[str, bytes]], limit_s: float) -> bool:
        """Whether ``active`` is as our own change, of which no answer came back, would have left it.

        Raises Unreachable where an earlier change of ours came late: against that, it is to be tried again.
        """
        answer = self._session.read(f"{self._runs}/active", limit_s)
        if answer is None:
            return False
        found = _fields(answer[0])
        if any(found.get(key) != self._record[key] for key in ("run", "epoch", "who")):
            return False
        self._version = answer[1].version
        if answer[0] == content and all(self._session.read(path, limit_s) for path, _value in nodes):
            return True
        raise Unreachable("change the active run", on="ZooKeeper", saw="an earlier change of ours came late")

    # Looking.

    def _observe(self, limit_s: float) -> tuple[ActiveRun | None, int, int]:
        """The active run, the version of what says so, and the last epoch."""
        answer = self._session.read(f"{self._runs}/active", limit_s)
        owner = self._session.read(f"{self._runs}/owner", limit_s)
        if answer is None:
            return None, 0, 0
        record, stat = _fields(answer[0]), answer[1]
        if self._seen is None or self._seen[0] != stat.mzxid:
            self._seen = (stat.mzxid, self._clock())
        self._moved = record.get("moved")
        epoch = int(record.get("epoch", 0))
        if not record or record.get("over"):
            return None, stat.version, epoch
        doing = {str(name): float(limit) for name, limit in record.get("doing", {}).items()}
        if record.get("ended") and owner is None and not doing:
            return None, stat.version, epoch
        lasts_s = max(doing.values(), default=0.0)
        active = ActiveRun(
            run=str(record["run"]),
            epoch=epoch,
            who=str(record["who"]),
            command=str(record["command"]),
            alive=owner is not None,
            doing=tuple(doing),
            free_in_s=max(0.0, self._seen[1] + lasts_s - self._clock()),
        )
        return active, stat.version, epoch

    def _other(self) -> str:
        try:
            active = self.observe_active(limit_s=ATTEMPT_S)
        except Unreachable:
            active = None
        return active.sentence() if active else "another run was begun meanwhile"

    def _note(self, event: Event) -> None:
        """What is begun and not ended: steps alone have effects."""
        name = f"{event.fields.get('step', '')} on {event.fields.get('target', '')}"
        if event.type in ("run.started", "run.resumed"):
            self._record.pop("ended", None)
        if event.type == "move.ended":
            said = {key: str(event.fields.get(key, "")) for key in ("what", "site")}
            self._record["moved"] = {**said, "run": event.run, "at": event.at.isoformat()}
        elif event.type == "run.resumed":
            self._begun.clear()  # taking the right has waited for what the run's earlier life had begun
        elif event.type in ENDS:
            # Its process may die before it gives the right back: nobody could go on with what is over.
            self._record["ended"] = event.type
        elif event.type == "step.started":
            self._begun[name] = float(event.fields.get("limit_s", 0.0))
        elif event.type in ("step.done", "step.failed"):
            self._begun.pop(name, None)

    def _ensure_nodes(self, limit_s: float) -> None:
        path = f"{self._runs}/active"
        with contextlib.suppress(NodeExistsError):
            self._session.ask(
                f"make {path}", lambda: self._client.create_async(path, b"{}", makepath=True), limit_s
            )

    def _again(self, call: Callable[[float], Any], limit_s: float) -> Any:
        """``call`` until it is answered, for as long as ``limit_s``; what was refused is not tried again."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=tenacity.wait_fixed(AGAIN_S),
            stop=tenacity.stop_after_delay(max(AGAIN_S, limit_s)),
            reraise=True,
        )
        return retrying(call, max(AGAIN_S, min(ATTEMPT_S, limit_s)))


class SharedJournal:
    """``ports.Journal`` of the run that has the right to act: on our disk, then in the ensemble.

    ``append`` raises where the right was lost, so that nothing is begun any more. What acts with the right
    and keeps its own journal on this disk alone (a drill, a deploy) is told of at its end: see ``tell``.
    """

    def __init__(self, journal: Journal, runs: Runs, *, limit_s: float) -> None:
        self.run = journal.run
        self._journal = journal
        self._runs = runs
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._kept: set[int] = set()

    def append(self, type: str, fields: Mapping[str, Any]) -> Event:
        with self._lock:
            event = self._journal.append(type, fields)
            self._runs.append(event, limit_s=self._limit_s)
            self._kept.add(event.seq)
            return event

    def tell(self, *, limit_s: float) -> None:
        """Keep for every machine what this run wrote past us, but for its steps, once it is over. Raises
        what ``append`` does; ``limit_s`` is for each event."""
        with self._lock:
            events = self._journal.events()
            if not events or events[-1].type not in ENDS:
                return
            for event in events:
                small = len(_event_note(event)) <= TOLD_BYTES
                if event.seq not in self._kept and event.type.startswith(TOLD) and small:
                    self._runs.append(event, limit_s=limit_s)
                    self._kept.add(event.seq)

    def events(self) -> tuple[Event, ...]:
        return self._journal.events()


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, TimedOut) or (isinstance(error, Unreachable) and not isinstance(error, Rejected))


def _note(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()


def _fields(content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content or b"{}")
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise Rejected("read the active run", saw=f"not ours: {content[:60]!r}")
    return fields


def _event_note(event: Event) -> bytes:
    return _note(
        {"at": event.at.isoformat(), "type": event.type, "fields": dict(event.fields), "run": event.run}
        | {"seq": event.seq}
    )


def _without(kept: tuple[Asked, ...], wish: Wish, step: str) -> list[Asked]:
    return [each for each in kept if (each.wish, each.step) != (wish, step)]


def _asked(fields: Mapping[str, Any]) -> Asked:
    at = datetime.fromisoformat(fields["at"])
    return Asked(Wish(fields["wish"]), fields["by"], at, fields.get("reason", ""), fields.get("step", ""))


def _event(answer: tuple[bytes, Any]) -> Event:
    fields = _fields(answer[0])
    return Event(
        datetime.fromisoformat(fields["at"]), fields["run"], fields["seq"], fields["type"], fields["fields"]
    )
