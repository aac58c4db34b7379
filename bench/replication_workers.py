"""Two workers against one, where neither the servers nor the processor are the limit.

Every proxy answers ``LATENCY_S`` later than it could, without work: a worker then waits and does not compute,
so what one worker lacks is more of its like. That the processor was not the limit is shown by how much of it
was idle meanwhile.
"""

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path

from replication_field import Field, count_objects, dcctl, fill, last_arrival, make_container, name_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/contract"))
from zookeeper_server import running_zookeeper

LATENCY_S = 0.4
AT_ONCE = 4
CONTAINERS = 8
LIMIT_S = 1800.0
NAMES = [f"docs{number}" for number in range(CONTAINERS)]


def measure_workers(field: Field, objects: int, repeat: int) -> None:
    """``objects`` in eight containers, copied by one worker and by two; every other time two come first."""
    scale = f"{objects} objects"
    for container in NAMES:
        make_container(field.pair.east, container)
        names = [name_of(number) for number in range(objects // CONTAINERS)]
        asyncio.run(fill(field.pair.east, container, names, flight=16))
    for number in range(repeat):
        for workers in (1, 2) if number % 2 == 0 else (2, 1):
            what = f"{workers} worker" + "s" * (workers > 1)
            if field.records.has("workers", what, scale, number):
                continue
            field.empty(field.pair.west)
            seconds, idle = _copy(field, objects, workers)
            field.note(
                "workers",
                what,
                objects / seconds,
                "objects/s",
                scale=scale,
                round=number,
                idle=idle,
                latency_s=LATENCY_S,
                at_once=AT_ONCE,
            )


def _copy(field: Field, objects: int, workers: int) -> tuple[float, float]:
    """Seconds from the first arrival to the last, and the share of the processor that was idle."""
    env = field.environment(*NAMES)
    path = env.folder / "dcctl.yaml"
    path.write_text(path.read_text().replace("  settled: 1s\n", f"  settled: 1s\n  at_once: {AT_ONCE}\n"))
    west = field.pair.west
    with running_zookeeper() as (server,), contextlib.ExitStack() as stack:
        argv = ["follow", "--shared", "--every", "0.5", "--zookeeper", f"127.0.0.1:{server.port}"]
        before = _processor()
        for each in range(workers):
            log = stack.enter_context((env.folder / f"worker{each}.log").open("wb"))
            child = subprocess.Popen(dcctl(env, *argv), stdout=log, stderr=log)
            stack.callback(child.wait, 60)
            stack.callback(child.terminate)
        deadline, began = time.monotonic() + LIMIT_S, 0.0
        while (there := count_objects(west)) < objects:
            if there and not began:
                began = time.time()
            if time.monotonic() > deadline:
                raise SystemExit(f"workers: {there} of {objects} arrived in {LIMIT_S:.0f} s")
            time.sleep(0.2)
        after = _processor()
        busy, idle = after[0] - before[0], after[1] - before[1]
        return last_arrival(west) - began, idle / (busy + idle)


def _processor() -> tuple[int, int]:
    """Ticks busy and idle since the machine began."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, idle
