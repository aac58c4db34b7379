"""vCenter for tests: the real program on loopback over a runtime that only remembers, and plain pyVmomi."""

import contextlib
import ipaddress
import json
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyVim.connect import SmartStubAdapter
from pyVim.task import WaitForTask
from pyVmomi import vim

from dcctl.adapters.vmware import Limits, VMwareMachines, VMwareSite, specs
from dcctl.domain.machine import ServerSpec, Size
from dcctl.lab import vcenter
from dcctl.ports import Machines

ENVIRONMENT = "contract"
USERNAME = "dcctl@lab.local"
PASSWORD = "right"
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Vcenter:
    """A vCenter that answers, however it was started. ``lost`` is where files make it lose hosts."""

    endpoint: str
    password: str
    ca_file: Path
    lost: Path

    def site(self, **changes: Any) -> VMwareSite:
        values: dict[str, Any] = {
            "site": "west",
            "environment": ENVIRONMENT,
            "endpoint": self.endpoint,
            "username": USERNAME,
            "password": self.password,
            "ca_file": str(self.ca_file),
            "datacenter": "west",
            "cluster": "compute",
            "folder": "dcctl",
            "cidr": "198.18.2.0/24",
            "gateway": "198.18.2.1",
            "limits": Limits(connect_s=2, answer_s=10, task_s=30, clone_s=30),
        }
        return VMwareSite(**values | changes)

    @contextlib.contextmanager
    def plain(self, password: str | None = None) -> Iterator[vim.ServiceInstance]:
        """Somebody else's session, with nothing of ours in it."""
        host, port = self.endpoint.removeprefix("https://").split(":")
        context = ssl.create_default_context(cafile=str(self.ca_file))
        stub = SmartStubAdapter(host=host, port=int(port), sslContext=context)
        try:
            si = vim.ServiceInstance("ServiceInstance", stub)
            si.content.sessionManager.Login(USERNAME, password or self.password)
            yield si
            si.content.sessionManager.Logout()
        finally:
            stub.DropConnections()

    @contextlib.contextmanager
    def lose(self, host: str) -> Iterator[None]:
        """While entered, vCenter hears nothing of that host."""
        file = self.lost / host
        file.parent.mkdir(exist_ok=True)
        file.touch()
        try:
            self._await_host(host, "notResponding")
            yield
        finally:
            file.unlink()
            self._await_host(host, "connected")

    def _await_host(self, name: str, state: str) -> None:
        with self.plain() as si:
            (host,) = [each for each in find_all(si, vim.HostSystem) if each.name == name]
            wait_until(lambda: host.runtime.connectionState == state)


class StandIn:
    """The runtime that only remembers, seen from the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def machines(self) -> dict[str, Any]:
        """By name: state and specification."""
        file = self.folder / "machines.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        return {each["spec"]["name"]: each for each in known.values()}

    def state(self, name: str) -> str:
        return str(self.machines()[name]["state"]) if name in self.machines() else "absent"

    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    def die(self, name: str) -> None:
        """The machine ends by itself."""
        self.run("halt", self.machines()[name]["spec"]["id"])

    def run(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("standin_machine.py")), str(self.folder), *words],
            check=True,
            timeout=PATIENCE_S,
        )

    @contextlib.contextmanager
    def failing(self, verb: str, sentence: str) -> Iterator[None]:
        file = self.folder / f"fail-{verb}"
        file.write_text(sentence)
        try:
            yield
        finally:
            file.unlink()

    @contextlib.contextmanager
    def slow(self, verb: str) -> Iterator[None]:
        """While entered, that verb does not come to an end."""
        file = self.folder / f"slow-{verb}"
        file.touch()
        try:
            yield
        finally:
            file.unlink()


@pytest.fixture(scope="session", name="program")
def vcenter_program(capable_host: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built unless the cache has it. A copy of it, for a lab that goes ends whatever runs from its folder."""
    vcenter.ensure_built(print)
    return Path(shutil.copy(vcenter.program(), tmp_path_factory.mktemp("vcenter")))


@contextlib.contextmanager
def on_loopback(program: Path, folder: Path) -> Iterator[tuple[Vcenter, StandIn]]:
    """Start the program; it and its files end with the block."""
    state, runtime = folder / "state", folder / "runtime"
    state.mkdir()
    runtime.mkdir()
    certificate, key = self_signed(folder)
    (folder / "password").write_text(PASSWORD + "\n")
    line = [sys.executable, str(Path(__file__).with_name("standin_machine.py")), str(runtime)]
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(program), "-listen", f"127.0.0.1:{port}", "-state", str(state), "-every", "100ms"),
                *("-certificate", str(certificate), "-key", str(key)),
                *("-password-file", str(folder / "password")),
            ],
            env={"DCCTL_LAB_MACHINE": shlex.join(line), "PATH": "/usr/bin:/bin"},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: (state / "ready").exists() or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        vcenter = Vcenter(f"https://127.0.0.1:{port}", PASSWORD, certificate, state / "lost")
        yield vcenter, StandIn(runtime)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()


@dataclass
class World:
    """``contracts.machines.MachinesWorld`` over a vCenter."""

    vcenter: Vcenter
    machines: Machines

    def spec(self, name: str, **changes: Any) -> ServerSpec:
        number = 80 + sum(name.encode()) % 20
        values: dict[str, Any] = {
            "name": name,
            "environment": ENVIRONMENT,
            "site": "west",
            "group": "contract",
            "roles": (),
            "size": Size(vcpus=2, memory_bytes=512 * 2**20, disk_bytes=3 * 2**30),
            "flavour": "",
            "image": "debian-12",
            "network": "dcctl",
            "address": f"198.18.2.{number}",
            "authorized_keys": ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA operator",),
            "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5BBBB",
            "user_data": "#cloud-config\n{}\n",
        }
        return ServerSpec(**values | changes)

    def make_foreign(self, name: str, *, owner: str | None) -> None:
        with self.vcenter.plain() as si:
            machine = clone(si, name)
            if owner:
                marks = vim.vm.ConfigSpec(extraConfig=specs.options({specs.OWNER: owner}))
                WaitForTask(machine.ReconfigVM_Task(marks))
            custom = specs.customization(self.spec(name), cidr="198.18.2.0/24", gateway="198.18.2.1")
            WaitForTask(machine.CustomizeVM_Task(custom))
            WaitForTask(machine.PowerOnVM_Task())

    def make_leftover(self, spec: ServerSpec) -> None:
        with self.vcenter.plain() as si:
            pool, host = pool_of(si), find_all(si, vim.HostSystem)[0]
            cloning = specs.clone(spec, pool=pool, host=host, cidr="198.18.2.0/24", gateway="198.18.2.1")
            clone(si, spec.name, cloning)

    def disconnected(self, hypervisor: str) -> contextlib.AbstractContextManager[None]:
        return self.vcenter.lose(hypervisor)

    def unreachable(self) -> Machines:
        nobody = f"https://127.0.0.1:{free_port()}"
        return VMwareMachines(self.vcenter.site(endpoint=nobody))

    def with_wrong_password(self) -> Machines:
        return VMwareMachines(self.vcenter.site(password="wrong"))


def find_all(si: vim.ServiceInstance, kind: type) -> list[Any]:
    """Every object of that kind, sorted by name."""
    content = si.RetrieveContent()
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    try:
        return sorted(view.view, key=lambda each: str(each.name))
    finally:
        view.Destroy()


def find(si: vim.ServiceInstance, name: str) -> Any:
    """The one virtual machine of that name."""
    (found,) = [each for each in find_all(si, vim.VirtualMachine) if each.name == name]
    return found


def pool_of(si: vim.ServiceInstance) -> Any:
    (cluster,) = find_all(si, vim.ClusterComputeResource)
    return cluster.resourcePool


def clone(si: vim.ServiceInstance, name: str, spec: Any = None) -> Any:
    """A clone of the template in our folder, powered off."""
    (folder,) = [each for each in find_all(si, vim.Folder) if each.name == "dcctl"]
    plain = vim.vm.CloneSpec(location=vim.vm.RelocateSpec(pool=pool_of(si)))
    task = find(si, "debian-12").CloneVM_Task(folder=folder, name=name, spec=spec or plain)
    WaitForTask(task)
    return task.info.result


def wait_until(happened: Callable[[], bool]) -> None:
    """Fails after PATIENCE_S seconds."""
    until = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate_file, key_file


@pytest.fixture
def vcenter_loopback(program: Path, tmp_path: Path) -> Iterator[tuple[Vcenter, StandIn]]:
    """The program and the machines behind it; a test names ``program`` beside this."""
    with on_loopback(program, tmp_path) as both:
        yield both


@pytest.fixture
def vcenter_running(loopback: tuple[Vcenter, StandIn]) -> Vcenter:
    return loopback[0]


@pytest.fixture
def vcenter_runtime(loopback: tuple[Vcenter, StandIn]) -> StandIn:
    return loopback[1]


@pytest.fixture
def vcenter_session(vcenter: Vcenter) -> Iterator[vim.ServiceInstance]:
    with vcenter.plain() as session:
        yield session
