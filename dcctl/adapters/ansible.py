"""``ports.Playbooks`` with ansible-runner.

Secrets never touch a disk, an argument list or an environment: they go through a FIFO that Ansible reads
once as extra variables. ansible-runner writes the environment of what it starts into a file
(``artifacts/…/command``), so Ansible gets only the variables named here. Everything else that Ansible
writes lies in a folder of ours in memory, which goes when the deploy ends.
"""

import json
import os
import shutil
import signal
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_runner import Runner, RunnerConfig

from dcctl.domain.deploy import Applied, Change, Deployment, Doing, Failure, Recap, Trouble
from dcctl.errors import Interrupted, Rejected, TimedOut

PASSED_ON = ("HOME", "USER", "SSH_AUTH_SOCK", "TMPDIR")
"""What Ansible inherits of our environment."""

ASK_S = 0.5
"""How often ansible-runner asks whether it should end early."""

GRACE_S = 10.0
"""From asking Ansible to end until it is killed."""


class AnsiblePlaybooks:
    """``site.yml`` of ``playbooks``, with ``workspace`` (0700, in memory) for what Ansible writes.

    ``control_path`` is ssh's pattern for shared connections. ``inventory`` is Ansible's static form;
    ``variables`` is the folder whose ``group_vars`` and ``host_vars`` belong to it.
    """

    def __init__(
        self,
        *,
        playbooks: Path,
        workspace: Path,
        control_path: str,
        inventory: Mapping[str, Any],
        secrets: Mapping[str, str],
        variables: Path,
    ) -> None:
        self._playbooks = playbooks
        self._workspace = workspace
        self._control_path = control_path
        self._inventory = inventory
        self._secrets = secrets
        self._variables = variables

    def apply(
        self,
        deployment: Deployment,
        *,
        check: bool,
        limit_s: float,
        seen: Callable[[Doing | Change | Failure], None],
        asked_to_end: Callable[[], bool],
    ) -> Applied:
        began = time.monotonic()
        story = Story(seen)
        ending = Ending(str(self._workspace), limit_s=limit_s, asked_to_end=asked_to_end)
        with self._secrets_as_variables() as secrets:
            runner = Runner(
                self._configured(deployment, check=check, secrets=secrets),
                event_handler=story.take,
                cancel_callback=ending.must_be_killed,
            )
            runner.run()
        tried = "apply the playbooks" if not check else "compare the machines with the playbooks"
        if ending.interrupted:
            raise Interrupted(tried, saw="Ansible was ended; deploy again to finish")
        if ending.timed_out:
            raise TimedOut(tried, saw=f"not done within {limit_s:g} s; last: {story.last}")
        if not story.recaps or (runner.rc != 0 and not story.failures):
            raise Rejected(tried, saw=_complaint(runner) or f"Ansible ended with status {runner.rc}")
        return Applied(
            recaps=tuple(story.recaps),
            changes=tuple(story.changes),
            failures=tuple(story.failures.values()),
            took_s=round(time.monotonic() - began, 3),
        )

    def _configured(self, deployment: Deployment, *, check: bool, secrets: Path | None) -> RunnerConfig:
        hosts = self._written_inventory()
        options = ["--diff", *(["--check"] if check else [])]
        options += ["--extra-vars", f"@{secrets}"] if secrets else []
        options += [] if deployment.whole else ["--tags", ",".join(deployment.roles)]
        config = RunnerConfig(
            private_data_dir=str(self._workspace),
            project_dir=str(self._playbooks),
            playbook="site.yml",
            inventory=str(hosts),
            limit=None if deployment.whole else ",".join(deployment.machines),
            cmdline=" ".join(options),
            quiet=True,
        )
        config.prepare()
        config.pexpect_timeout = ASK_S
        config.command = [*_tied(), *config.command]
        config.env = self._environment(config.env)
        return config

    def _written_inventory(self) -> Path:
        """The inventory as a file, with the folders of variables beside it, where Ansible looks."""
        hosts = self._workspace / "hosts.json"
        hosts.touch(mode=0o600)
        hosts.write_text(json.dumps(self._inventory), encoding="utf-8")
        for name in ("group_vars", "host_vars"):
            link = self._workspace / name
            if (self._variables / name).is_dir() and not link.exists():
                link.symlink_to(self._variables / name)
        return hosts

    def _environment(self, prepared: Mapping[str, str]) -> dict[str, str]:
        """What ansible-runner needs of its own, what is passed on, and our settings; nothing else."""
        runners = ("ANSIBLE_CALLBACK_PLUGINS", "ANSIBLE_STDOUT_CALLBACK", "AWX_ISOLATED_DATA_DIR")
        return {
            **{name: prepared[name] for name in (*PASSED_ON, *runners) if name in prepared},
            "PATH": f"{sysconfig.get_path('scripts')}:{prepared.get('PATH', '')}",
            # Ansible refuses to start in any other than UTF-8.
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self._playbooks / "ansible.cfg"),
            "ANSIBLE_HOME": str(self._workspace / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(self._workspace / "tmp"),
            "ANSIBLE_SSH_CONTROL_PATH": self._control_path.replace("%", "%%"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(Path(self._control_path).parent),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    @contextmanager
    def _secrets_as_variables(self) -> Iterator[Path | None]:
        """A FIFO that gives the secrets, as YAML that Ansible takes literally, to who reads it once."""
        if not self._secrets:
            yield None
            return
        path = self._workspace / "secrets"
        os.mkfifo(path, 0o600)
        lines = ["dcctl_secrets:"]
        lines += [f"  {name}: !unsafe {json.dumps(value)}" for name, value in self._secrets.items()]
        giver = threading.Thread(target=_give, args=(path, "\n".join(lines) + "\n"), daemon=True)
        giver.start()
        try:
            yield path
        finally:
            # A reader of our own lets a giver end that Ansible never came to.
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            giver.join(timeout=5)
            path.unlink()


def _tied() -> list[str]:
    """Before a command: it is told to end should we die. (setpriv(1) of util-linux.)"""
    return ["setpriv", "--pdeathsig", "INT", "--"] if shutil.which("setpriv") else []


def _give(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except BrokenPipeError:
        return


class Ending:
    """Ends Ansible early: politely, because its workers are in sessions of their own.

    ansible-runner kills the main process alone, and workers go on with what they do. Asked with SIGINT,
    Ansible ends them itself.
    """

    def __init__(self, mark: str, *, limit_s: float, asked_to_end: Callable[[], bool]) -> None:
        self._mark = mark
        self._ends = time.monotonic() + limit_s
        self._asked_to_end = asked_to_end
        self._killed_at: float | None = None
        self.interrupted = False
        self.timed_out = False

    def must_be_killed(self) -> bool:
        """ansible-runner's question. The first reason to end sends SIGINT; GRACE_S later it is yes."""
        now = time.monotonic()
        if self._killed_at is not None:
            return now >= self._killed_at
        self.interrupted = self._asked_to_end()
        self.timed_out = not self.interrupted and now >= self._ends
        if self.interrupted or self.timed_out:
            self._killed_at = now + GRACE_S
            for child in _children():
                if self._mark in _arguments(child):
                    os.kill(child, signal.SIGINT)
        return False


def _children() -> list[int]:
    own = Path("/proc/self/task")
    return [int(pid) for task in own.iterdir() for pid in (task / "children").read_text().split()]


def _arguments(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class Story:
    """What Ansible's events tell, task by task."""

    def __init__(self, seen: Callable[[Doing | Change | Failure], None]) -> None:
        self._seen = seen
        self.recaps: list[Recap] = []
        self.changes: list[Change] = []
        self.failures: dict[str, Failure] = {}
        self.last = "nothing yet"

    def take(self, event: Mapping[str, Any]) -> bool:
        """Note one event of ansible-runner. Returns false: it need not be kept on disk."""
        data = event.get("event_data") or {}
        match event.get("event"):
            case "runner_on_start":
                self.last = f"{data.get('task', '')} on {data['host']}"
                self._seen(Doing(data["host"], _role(data), str(data.get("task", ""))))
            case "runner_on_ok" if (data.get("res") or {}).get("changed"):
                change = Change(data["host"], _role(data), str(data["task"]), details(data["res"]))
                self.changes.append(change)
                self._seen(change)
            case "runner_on_failed" if not data.get("ignore_errors"):
                self._fail(data, Trouble.FAILED)
            case "runner_on_unreachable":
                self._fail(data, Trouble.UNREACHABLE)
            case "playbook_on_stats":
                self.recaps = recaps(data)
        return False

    def _fail(self, data: Mapping[str, Any], trouble: Trouble) -> None:
        said = message(data.get("res") or {})
        if trouble is Trouble.UNREACHABLE:
            said = why_unreachable(said)
        failure = Failure(data["host"], _role(data), str(data.get("task", "")), said, trouble)
        self.failures.setdefault(failure.machine, failure)
        self._seen(failure)


def recaps(stats: Mapping[str, Any]) -> list[Recap]:
    """One line per machine, of the event that ends a playbook."""
    machines = sorted(set().union(*(stats.get(kind) or {} for kind in ("processed", "dark", "failures"))))

    def count(kind: str, machine: str) -> int:
        return int((stats.get(kind) or {}).get(machine, 0))

    return [
        Recap(
            machine=machine,
            ok=count("ok", machine),
            changed=count("changed", machine),
            skipped=count("skipped", machine),
            failed=count("failures", machine),
            unreachable=count("dark", machine),
        )
        for machine in machines
    ]


def message(result: Mapping[str, Any]) -> str:
    """A failing task's own message: what the module says, and what the command it ran said."""
    if result.get("censored"):
        return str(result["censored"])
    said = [str(result.get("msg") or "").strip()]
    errors = str(result.get("stderr") or result.get("module_stderr") or "").strip()
    output = str(result.get("stdout") or result.get("module_stdout") or "").strip()
    said += [_tail(errors or output)] if (errors or output) and (errors or output) not in said[0] else []
    if "rc" in result and result["rc"] != 0:
        said.append(f"status {result['rc']}")
    return "; ".join(part for part in said if part) or "no message"


def why_unreachable(said: str) -> str:
    """The reason in what ssh printed, on one line."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        return "its host key is not the recorded one"
    if "No ED25519 host key is known" in said or "host key is known for" in said:
        return "no host key of it is recorded (`dcctl provision apply` records it)"
    return _tail(said.partition("over ssh: ")[2] or said, lines=1)


def details(result: Mapping[str, Any]) -> tuple[str, ...]:
    """What a task changed, where its result says so."""
    if result.get("written"):
        return tuple(result["written"])
    if result.get("done"):
        return tuple(result["done"])
    packages = ((result.get("invocation") or {}).get("module_args") or {}).get("package")
    return tuple(packages) if isinstance(packages, Sequence) and not isinstance(packages, str) else ()


def _role(data: Mapping[str, Any]) -> str:
    return str(data.get("role") or "")


def _tail(text: str, lines: int = 3) -> str:
    return " / ".join(line.strip() for line in text.splitlines()[-lines:])


def _complaint(runner: Runner) -> str:
    """What Ansible printed when it ended without having run: a playbook or inventory that it cannot read."""
    with runner.stdout as output:
        text = output.read()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line]
    return _tail("\n".join(errors or lines))
