"""Plain connections: whether one is accepted, and what ZooKeeper and Patroni say of themselves."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from dcctl.adapters.probes.http import answered, read
from dcctl.adapters.probes.round import Outcome, Prober
from dcctl.domain.observation import DatabaseReport, VoterMode, VoterReport
from dcctl.domain.probe import PatroniCheck, TcpCheck, ZookeeperCheck

SAID_BYTES = 1 << 16


async def probe_tcp(check: TcpCheck) -> Outcome:
    async with _connected(check.address, check.port):
        return Outcome(ok=True, saw="accepts connections")


@contextlib.asynccontextmanager
async def _connected(
    address: str, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def probe_zookeeper(parse: Callable[..., VoterReport]) -> Prober:
    """``parse`` reads an answer to ``srvr`` (ZooKeeper Administrator's Guide, "The Four Letter Words")."""

    async def probe(check: ZookeeperCheck) -> Outcome:
        async with _connected(check.address, check.port) as (reader, writer):
            writer.write(b"srvr")
            await writer.drain()
            text = b""
            while len(text) < SAID_BYTES and (piece := await reader.read(4096)):
                text += piece
        report = parse(text.decode(errors="replace"), name=check.address)
        in_quorum = report.mode in (VoterMode.LEADER, VoterMode.FOLLOWER)
        return Outcome(ok=in_quorum, saw=str(report.mode), figure=float(report.connections))

    return probe


def probe_patroni(parse: Callable[[str, Any], DatabaseReport]) -> Prober:
    """``parse`` reads an answer to ``/patroni``. Nothing else is ever asked of it."""

    async def probe(check: PatroniCheck) -> Outcome:
        async with answered(check.url + "/patroni") as answer:
            text = await read(answer)
        try:
            own = json.loads(text)
        except ValueError:
            return Outcome(ok=False, saw="the answer is not JSON")
        report = parse(check.url, own)
        role = "primary" if report.primary else "standby"
        timeline = f", timeline {report.timeline}" if report.timeline is not None else ""
        well = report.state in ("running", "streaming")
        return Outcome(ok=well, saw=f"{role}, {report.state}{timeline}", figure=report.location_bytes)

    return probe
