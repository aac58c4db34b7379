"""Who is tortured: ours and its peers, each killed and started again, each behind links that are cut."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from replication_clients import SEGMENTS

from dcctl.testing.link import Link
from dcctl.testing.replication_site import Environment, make_container
from dcctl.testing.swift_pair import PASSWORD, REALM, USER, Pair

CONTAINER = "docs"
Links = dict[str, Link]
Person = Callable[[str], bool]
"""Answers whether a name that waits for a decision is to be kept."""


class Ours:
    """``dcctl replication follow``; what it leaves to a person, a person who knows everything decides."""

    label = "**dcctl**"
    keeps_stamps = True

    def __init__(self, pair: Pair, folder: Path, links: Links) -> None:
        environment = Environment(folder, pair)
        self.argv = environment.argv
        self.asked = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "follow.log"
        text = (folder / "dcctl.yaml").read_text()
        for cluster in pair.clusters:
            whole, cut = f":{cluster.ports['proxy']}/v1/", f":{links[cluster.name].port}/v1/"
            text = text.replace(f'url: "http://127.0.0.1{whole}', f'url: "http://127.0.0.1{cut}')
        text = text.replace(f"[{environment.docs}]", f"[{CONTAINER}, {SEGMENTS}]")
        if (reclaim_s := pair.east.reclaim_age_s) < 86400:
            text = text.replace(
                "settled: 1s", f"settled: 1s\n  reclaim_age: {reclaim_s}s\n  margin: {reclaim_s * 2 // 3}s"
            )
        (folder / "dcctl.yaml").write_text(text)
        self._run("init")

    def _run(self, *argv: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "dcctl.cli.main", *self.argv(*argv)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 4, 6, 8):
            raise SystemExit(f"dcctl replication {argv}: {done.returncode} {done.stderr}")
        return dict(json.loads(done.stdout)) if done.stdout else {}

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dcctl.cli.main", *self.argv("follow", "--every", "0.3")],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def settle(self, limit_s: float, person: Person) -> None:
        """Passes until two in a row find nothing to do and nothing waits."""
        deadline = time.monotonic() + limit_s
        quiet, found = 0, {}
        while quiet < 2 and time.monotonic() < deadline:
            found = self._run("once", "--accept-empty", "--max-deletes", "100000")
            passes = found.get("containers") or []
            if any(one["kinds"].get("undecided") for one in passes):
                self._decide(person)
            # what has expired is listed until the cluster's own expirer comes by
            rest = bool(passes) and not any(set(one["kinds"]) - {"gone"} or one["resumed"] for one in passes)
            quiet = quiet + 1 if rest else 0
        if quiet < 2:
            print(f"did not come to rest: {found}", file=sys.stderr)

    def _decide(self, person: Person) -> None:
        for container in self._run("status")["containers"]:
            names = [one["name"] for one in container["undecided"]]
            kept = [name for name in names if container["container"] != CONTAINER or person(name)]
            self.asked += len(names)
            for answer, some in (("keep", kept), ("remove", [one for one in names if one not in kept])):
                if some:
                    self._run(answer, *some, "--container", container["container"])


class ContainerSync:
    """Swift's own, with its daemon at each site, which looks once a second."""

    label = "container-sync"
    keeps_stamps = False
    asked = 0

    def __init__(self, pair: Pair, folder: Path, links: Links) -> None:  # noqa: ARG002
        self._pair = pair
        self._processes: list[subprocess.Popen[bytes]] = []
        for cluster, other in (pair.clusters, pair.clusters[::-1]):
            realms = cluster.folder / "conf/container-sync-realms.conf"
            there, cut = f"127.0.0.1:{other.ports['proxy']}", f"127.0.0.1:{links[other.name].port}"
            realms.write_text(realms.read_text().replace(there, cut))
            (cluster.folder / "conf/sync.conf").write_text(
                f"[DEFAULT]\nswift_dir = {cluster.folder}/conf\ndevices = {cluster.folder}/devices\n"
                f"mount_check = false\nuser = root\nbind_port = {cluster.ports['container']}\n"
                "log_level = ERROR\n[container-sync]\ninterval = 1\ncontainer_time = 30\n"
                f"internal_client_conf_path = {cluster.folder}/conf/internal.conf\nsync_proxy =\n"
            )
            for container in (CONTAINER, SEGMENTS):
                make_container(cluster, container, f"//{REALM}/{other.name}/AUTH_test/{container}")

    def start(self) -> None:
        for cluster in self._pair.clusters:
            with (cluster.folder / "sync.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen(
                        cluster.daemon_argv("container-sync", cluster.folder / "conf/sync.conf"),
                        env=cluster.environment,
                        stdout=subprocess.DEVNULL,
                        stderr=log,
                    )
                )

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    def settle(self, limit_s: float, person: Person) -> None:  # noqa: ARG002
        """It has no end of its own: as long as it needs for this many names, many times over."""
        self.start()
        time.sleep(min(limit_s, 40))
        self.kill()


class RcloneBisync:
    """rclone's two-way sync, run after run; started anew (``--resync``) where it says that it must be."""

    label = "rclone bisync"
    keeps_stamps = False
    asked = 0

    def __init__(self, pair: Pair, folder: Path, links: Links) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        sections = [
            f"[{cluster.name}]\ntype = swift\nauth = http://127.0.0.1:{links[cluster.name].port}/auth/v1.0\n"
            f"user = {USER}\nkey = {PASSWORD}\nauth_version = 1\n"
            for cluster in pair.clusters
        ]
        (folder / "rclone.conf").write_text("\n".join(sections))
        command = f"rclone --config {folder}/rclone.conf --metadata --timeout 10s --contimeout 5s bisync"
        self._bisync = f"{command} east:{CONTAINER} west:{CONTAINER} --workdir {folder}/work --force"
        self._once("--resync")

    def _once(self, *more: str) -> int:
        quietly = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run([*self._bisync.split(), *more], check=False, **quietly).returncode

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["sh", "-c", f"while :; do {self._bisync} || {self._bisync} --resync; sleep 1; done"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def settle(self, limit_s: float, person: Person) -> None:  # noqa: ARG002
        deadline = time.monotonic() + limit_s
        for _ in range(3):
            if time.monotonic() < deadline and self._once() != 0:
                self._once("--resync")


REPLICATORS: dict[str, Callable[[Pair, Path, Links], Any]] = {
    "ours": Ours,
    "container-sync": ContainerSync,
    "rclone-bisync": RcloneBisync,
}
