"""The seed copy: all that east has, to an empty west, by ours and by its peers, in turn in each round."""

import asyncio
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from replication_field import (
    Field,
    Ran,
    count_objects,
    fill,
    last_arrival,
    make_container,
    name_of,
    once,
    raw_copies,
    run_program,
    set_sync,
)

from dcctl.testing.swift_pair import ACCOUNT, PASSWORD, REALM, USER

SOURCE = "seed"
FLIGHTS = (8, 12, 16)
TUNED = ("--transfers", "16", "--checkers", "16", "--fast-list", "--size-only")
PEERS = {
    "rclone sync, default": ("sync",),
    "rclone sync, tuned": ("sync", *TUNED),
    "rclone bisync, default": ("bisync", "--resync"),
    "rclone bisync, tuned": ("bisync", "--resync", *TUNED),
}


class Seed:
    """Who copies how. Each copier returns the seconds it took; west is empty before each."""

    def __init__(self, field: Field, objects: int, flight: int) -> None:
        self.field, self.objects, self.flight = field, objects, flight
        self.names = [name_of(number) for number in range(objects)]
        self.copiers: dict[str, Callable[[], tuple[float, dict[str, float]]]] = {
            "ceiling": self._ceiling,
            "dcctl": self._dcctl,
            **{label: lambda argv=argv: self._rclone(*argv) for label, argv in PEERS.items()},
            "swift download, swift upload": self._swift,
            "Swift's container-sync": self._container_sync,
        }

    def _ceiling(self) -> tuple[float, dict[str, float]]:
        before = time.process_time()
        seconds = asyncio.run(raw_copies(self.field.pair, SOURCE, SOURCE, self.names, self.flight))
        return seconds, {"cpu_s": time.process_time() - before, "flight": self.flight}

    def _dcctl(self) -> tuple[float, dict[str, float]]:
        env = self.field.environment(SOURCE)
        ran, tally = once(env)
        if tally["kinds"].get("copied") != self.objects:
            raise SystemExit(f"seed: {tally}")
        return ran.seconds, {**_used(ran), "engine_s": tally["seconds"]}

    def _rclone(self, *argv: str) -> tuple[float, dict[str, float]]:
        work = self.field.folder / "rclone-work"
        shutil.rmtree(work, ignore_errors=True)
        what, *more = argv
        sides = [f"east:{SOURCE}", f"west:{SOURCE}"]
        if what == "bisync":
            make_container(self.field.pair.west, SOURCE)
            more += ["--workdir", str(work)]
        ran = run_program(["rclone", "--config", str(self.field.rclone_conf), what, *sides, *more])
        return ran.seconds, _used(ran)

    def _swift(self) -> tuple[float, dict[str, float]]:
        work = self.field.folder / "downloaded"
        work.mkdir()
        program = str(Path(sys.executable).with_name("swift"))
        login = {
            one.name: ["-A", one.auth_url, "-U", USER, "-K", PASSWORD] for one in self.field.pair.clusters
        }
        down = run_program([program, *login["east"], "download", SOURCE, "-D", str(work), "-q"])
        up = run_program([program, *login["west"], "upload", SOURCE, str(work), "--object-name", "", "-q"])
        shutil.rmtree(work)
        return down.seconds + up.seconds, {
            "cpu_s": down.cpu_s + up.cpu_s,
            "peak_mb": max(down.peak_mb, up.peak_mb),
        }

    def _container_sync(self) -> tuple[float, dict[str, float]]:
        """One way, by Swift itself; until the last object is there, however long its daemon goes on."""
        east, west = self.field.pair.clusters
        conf = east.folder / "conf"
        (conf / "sync.conf").write_text(
            f"[DEFAULT]\nswift_dir = {conf}\ndevices = {east.folder}/devices\nmount_check = false\n"
            f"user = root\nbind_port = {east.ports['container']}\nlog_level = ERROR\n"
            "[container-sync]\ninterval = 1\ncontainer_time = 36000\n"
            f"internal_client_conf_path = {conf}/internal.conf\nsync_proxy =\n"
        )
        (conf / "internal.conf").write_text(
            f"[DEFAULT]\nswift_dir = {conf}\n[pipeline:main]\n"
            "pipeline = catch_errors proxy-logging proxy-server\n[app:proxy-server]\nuse = egg:swift#proxy\n"
            "account_autocreate = true\n[filter:proxy-logging]\nuse = egg:swift#proxy_logging\n"
            "[filter:catch_errors]\nuse = egg:swift#catch_errors\n"
        )
        make_container(west, SOURCE)
        set_sync(east, SOURCE, f"//{REALM}/{west.name}/{ACCOUNT}/{SOURCE}")
        try:
            began = time.time()
            ran = run_program(
                [*east.daemon_argv("container-sync", conf / "sync.conf"), "once"], env=east.environment
            )
        finally:
            set_sync(east, SOURCE, "")
        return last_arrival(west) - began, {**_used(ran), "until_it_ended_s": time.time() - began}


def measure_seed(field: Field, objects: int, repeat: int, peers: int, only: frozenset[str]) -> None:
    """``repeat`` rounds of the ceiling and ours, one after the other; ``peers`` rounds of the others."""
    scale = f"{objects} objects"
    records = field.records
    make_container(field.pair.east, SOURCE)
    seed = Seed(field, objects, 0)
    asyncio.run(fill(field.pair.east, SOURCE, seed.names))
    seed.flight = _best_flight(field, seed, scale)
    for number in range(repeat):
        turn = list(seed.copiers)
        if number % 2:  # neither of two neighbours always has the quieter minute
            turn[0], turn[1] = turn[1], turn[0]
        for what in turn:
            peer = what not in ("ceiling", "dcctl")
            skipped = (peer and number >= peers) or (only and what not in only)
            if skipped or records.has("seed", what, scale, number):
                continue
            field.empty(field.pair.west)
            before = field.servers_cpu_s()
            seconds, more = seed.copiers[what]()
            more["servers_cpu_s"] = field.servers_cpu_s() - before
            there = count_objects(field.pair.west)
            if there < objects:
                raise SystemExit(f"seed: {what}: {there} of {objects} arrived")
            field.note("seed", what, objects / seconds, "objects/s", scale=scale, round=number, **more)
            spent = (more.get("cpu_s", 0.0) + more["servers_cpu_s"]) / objects
            field.note("processor", what, spent * 1000, "ms/object", scale=scale, round=number)


def _best_flight(field: Field, seed: Seed, scale: str) -> int:
    """How many requests at once are fastest for the bare loop here, tried on a part."""
    part = seed.names[: min(len(seed.names), 1500)]
    for flight in FLIGHTS:
        if not field.records.has("flight", str(flight), scale, 0):
            field.empty(field.pair.west)
            seconds = asyncio.run(raw_copies(field.pair, SOURCE, SOURCE, part, flight))
            field.note("flight", str(flight), len(part) / seconds, "objects/s", scale=scale, round=0)
    rates = {flight: field.records.values("flight", str(flight), scale)[0] for flight in FLIGHTS}
    return max(rates, key=lambda flight: rates[flight])


def measure_requests(field: Field, objects: int) -> None:
    """What the proxies were asked for while so many objects were copied. ``field`` counts."""
    scale = f"{objects} objects"
    make_container(field.pair.east, SOURCE)
    seed = Seed(field, objects, 8)
    asyncio.run(fill(field.pair.east, SOURCE, seed.names))
    logs = [cluster.folder / "conf/requests.log" for cluster in field.pair.clusters]
    for what, copier in seed.copiers.items():
        if field.records.has("requests", what, scale, 0):
            continue
        field.empty(field.pair.west)
        for log in logs:
            os.truncate(log, 0)
        copier()
        seen = Counter(line for log in logs for line in log.read_text().splitlines())
        of_objects = sum(count for line, count in seen.items() if line.endswith("object"))
        field.note(
            "requests", what, of_objects / objects, "per object", scale=scale, round=0, seen=dict(seen)
        )


def _used(ran: Ran) -> dict[str, float]:
    return {"cpu_s": ran.cpu_s, "peak_mb": ran.peak_mb}
