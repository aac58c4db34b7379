"""Traffic off a site that holds no primary: clients that read tenders, through an edge of the other site.

Our edge sends its clients to its own site's servers and keeps the other site's as a fall-over. Beside it, on
the same machine and for this run only, HAProxy as its package ships it: time-outs of Debian's haproxy.cfg,
``check`` with its defaults (every 2 s, three in a row), once with both sites' servers in turn and once with
its own site's first. So one fault is seen by all of them.

Clients of the dark site's own edge go elsewhere by themselves: of ours there are also some that know both
edges, take them in turn, and after a second without an answer ask the other one, which they then prefer.
"""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from failover_field import Lab

from dcctl import wiring
from dcctl.wiring.drill import CLIENTS_PORT

OURS = "ours"
OURS_OF_BOTH = "ours, clients that know both edges"
IN_TURN = "HAProxy, checks at defaults, both sites in turn"
OWN_FIRST = "HAProxy, checks at defaults, own site first"
PORTS = {IN_TURN: 8197, OWN_FIRST: 8198}
BALANCE = {IN_TURN: "roundrobin", OWN_FIRST: "first"}
CDB_PORT = 8080
PATH = "/api/2.5/tenders?limit=10"
ASKED_PER_S = 10.0
CONNECT_LIMIT_S, ANSWER_LIMIT_S = 2.0, 5.0
"""As the drills' clients have them."""
TRY_OTHER_AFTER_S = 1.0
AVOIDED_FOR_S = 10.0
SLOW_S = 2.0
"""A later answer is as bad as none."""
UNIT = "dcctl-bench-haproxy"
CONFIGURATION = f"/run/{UNIT}.cfg"
STOCK = """defaults
    mode http
    timeout connect 5000
    timeout client 50000
    timeout server 50000
"""


@dataclass(frozen=True)
class Asked:
    """One request, by the monotonic clock."""

    due_s: float
    ended_s: float
    answered: bool

    @property
    def good(self) -> bool:
        return self.answered and self.ended_s - self.due_s <= SLOW_S


@dataclass
class Readers:
    """Clients of several edges at once, who ask on a fixed schedule whatever the latency.

    ``urls`` are the edges that each kind of them knows.
    """

    urls: Mapping[str, Sequence[str]]
    asked: dict[str, list[Asked]] = field(default_factory=dict)
    avoided: dict[str, float] = field(default_factory=dict)
    """Edges that did not answer in time, and until when they are asked last."""

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Requests that are under way at the end are waited for."""
        loop, over = asyncio.new_event_loop(), threading.Event()
        self.asked = {name: [] for name in self.urls}
        thread = threading.Thread(target=lambda: loop.run_until_complete(self._all(over)))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            loop.close()

    async def _all(self, over: threading.Event) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
            await asyncio.gather(*(self._lane(client, name, over) for name in self.urls))

    async def _lane(self, client: aiohttp.ClientSession, name: str, over: threading.Event) -> None:
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as requests:
            for number in itertools.count():
                due_s = began_s + number / ASKED_PER_S
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                if over.is_set():
                    return
                requests.create_task(self._ask(client, name, number, due_s))

    async def _ask(self, client: aiohttp.ClientSession, name: str, number: int, due_s: float) -> None:
        known = self.urls[name]
        in_turn = [known[(number + each) % len(known)] for each in range(len(known))]
        in_turn.sort(key=lambda url: self.avoided.get(url, 0.0) > due_s)
        answered = False
        for url in in_turn:
            last = url == in_turn[-1]
            answered = await _answers(client, url, ANSWER_LIMIT_S if last else TRY_OTHER_AFTER_S)
            if answered:
                break
            self.avoided[url] = time.monotonic() + AVOIDED_FOR_S
        self.asked[name].append(Asked(due_s, time.monotonic(), answered))

    def well_for_s(self) -> float:
        """How long all of them have been answered well by now."""
        now_s = time.monotonic()
        last_bad_s = [
            max((each.ended_s for each in own if not each.good), default=0.0) for own in self._own()
        ]
        first_s = [min((each.due_s for each in own), default=now_s) for own in self._own()]
        return now_s - max(*last_bad_s, *first_s)

    def _own(self) -> list[list[Asked]]:
        return [list(own) for own in self.asked.values()]


async def _answers(client: aiohttp.ClientSession, url: str, limit_s: float) -> bool:
    limits = aiohttp.ClientTimeout(total=limit_s, sock_connect=CONNECT_LIMIT_S)
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with client.get(url, timeout=limits) as answer:
            await answer.read()
            return answer.status == HTTPStatus.OK
    return False


@contextlib.contextmanager
def beside_our_edge(lab: Lab, site: str) -> Iterator[Readers]:
    """Readers of the edge of ``site``, and of HAProxy on that machine as its package ships it."""
    name, address = lab.edge_at(site)
    remote = wiring.remote(lab.configuration, name)
    remote.run(["sudo", "tee", CONFIGURATION], limit_s=10, stdin=configuration(lab, site))
    remote.run(["sudo", "systemctl", "stop", UNIT], limit_s=20)
    haproxy = ["/usr/sbin/haproxy", "-db", "-f", CONFIGURATION]
    try:
        code, _out, saw = remote.run(
            ["sudo", "systemd-run", "--collect", "--unit", UNIT, *haproxy], limit_s=20
        )
        if code != 0:
            raise SystemExit(f"HAProxy did not start beside {name}: {saw}")
        known = {who: [f"http://{address}:{port}{PATH}"] for who, port in PORTS.items()}
        both = [f"http://{lab.edge_at(each)[1]}:{CLIENTS_PORT}{PATH}" for each in lab.configuration.sites]
        left = f"http://{address}:{CLIENTS_PORT}{PATH}"
        yield Readers({OURS: [left], OURS_OF_BOTH: both, **known})
    finally:
        remote.run(["sudo", "systemctl", "stop", UNIT], limit_s=20)
        remote.run(["sudo", "rm", "-f", CONFIGURATION], limit_s=10)


def configuration(lab: Lab, site: str) -> str:
    """What HAProxy beside our edge is told."""
    own_first = sorted(lab.applications().items(), key=lambda each: lab.place(each[0]) != site)
    servers = "\n".join(f"    server {name} {address}:{CDB_PORT} check" for name, address in own_first)
    parts = [
        f"listen at-{port}\n    bind :{port}\n    balance {BALANCE[who]}\n{servers}\n"
        for who, port in PORTS.items()
    ]
    return "\n".join([STOCK, *parts])
