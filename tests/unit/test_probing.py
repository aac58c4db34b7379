"""Which probes follow from a configuration, and which of them an agent may make."""

from pathlib import Path

import pytest

from dcctl.config.load import load_file
from dcctl.config.schema import Configuration
from dcctl.domain.probe import CommandCheck, DiskCheck, HttpCheck, ProbeSpec, SwiftCheck, TcpCheck, TlsCheck
from dcctl.wiring.probe import OPERATOR, probe_round, probe_specs

FOLDER = Path(__file__).parent / "cases" / "config"
LAB = Path(__file__).parents[2] / "inventories" / "lab" / "dcctl.yaml"


def loaded(tmp_path: Path, text: str = "") -> Configuration:
    (tmp_path / "dcctl.yaml").write_text(f"extends: {FOLDER / 'good.yaml'}\n{text}")
    return load_file(tmp_path / "dcctl.yaml")


def by_name(configuration: Configuration, place: str = OPERATOR) -> dict[str, ProbeSpec]:
    specs = probe_specs(configuration, place)
    found = {spec.name: spec for spec in specs}
    assert len(found) == len(specs)  # names are unique
    return found


def test_every_role_of_every_machine_is_probed(tmp_path: Path) -> None:
    found = by_name(loaded(tmp_path))
    expected = {
        f"{site}-db-1/{what}" for site in ("east", "west") for what in ("zookeeper", "patroni", "disk")
    }
    expected |= {f"{site}-edge-1/{what}" for site in ("east", "west") for what in ("edge", "writes", "ssh")}
    expected |= {"witness-1/zookeeper", "witness-1/ssh", "east/cloud", "west/cloud", "west/certificate"}
    assert expected <= found.keys()
    assert "east-edge-1/clients" not in found  # no application is deployed
    assert {spec.site for spec in found.values()} == {"east", "west", "witness"}
    assert found["witness-1/ssh"].site == "witness"


def test_the_lab_is_probed_as_a_whole() -> None:
    found = by_name(load_file(LAB))
    swift = found["west-app-1/swift"].check
    assert isinstance(swift, SwiftCheck)
    assert swift.auth_url == "http://198.18.2.22:8090/auth/v1.0"
    assert {
        "east-app-1/cdb",
        "east-app-1/documents",
        "east-edge-1/clients",
        "witness-1/agent",
    } <= found.keys()


@pytest.mark.parametrize("place", ["east", "witness"])
def test_an_agent_needs_neither_a_secret_nor_a_vendor_nor_ssh(place: str) -> None:
    specs = probe_specs(load_file(LAB), place)
    assert {spec.kind for spec in specs} <= {"http", "tcp", "tls", "patroni", "zookeeper", "clock"}
    assert all(spec.timeout_s <= 5 for spec in specs)
    dated = [spec for spec in specs if spec.kind == "clock"]
    assert dated
    assert all("date" in spec.name for spec in dated)


def test_patroni_is_asked_for_itself_only() -> None:
    urls = [spec.check.url for spec in probe_specs(load_file(LAB)) if isinstance(spec.check, HttpCheck)]
    assert not [url for url in urls if "/cluster" in url or ":8008" in url]


def test_limits_by_kind_and_probes_of_ones_own(tmp_path: Path) -> None:
    found = by_name(
        loaded(
            tmp_path,
            """
probes:
  timing:
    patroni: {timeout: 500ms, fall: 7}
    disk: {timeout: 9s}
  own:
    portal: {kind: http, site: east, url: "https://portal.example.org/", status: [200, 204], body: ok}
    mail: {kind: tcp, site: witness, address: 192.0.2.25, port: 25, rise: 4}
    portal-certificate: {kind: tls, site: west, address: portal.example.org, ca_file: ca.pem, days: 20}
    data: {kind: disk, role: postgresql, path: /var/lib/postgresql, used_percent: 80, timeout: 3s}
    chrony: {kind: command, role: base, run: [chronyc, waitsync, "1"]}
""",
        )
    )
    patroni = found["east-db-1/patroni"]
    assert (patroni.timeout_s, patroni.rise, patroni.fall) == (0.5, 2, 7)
    assert found["east-db-1/disk"].timeout_s == 9
    assert found["east-db-1/data"].timeout_s == 3  # its own limit wins over its kind's
    assert found["east-db-1/data"].check == DiskCheck("east-db-1", "/var/lib/postgresql", 80)
    assert found["east/portal"].check == HttpCheck("https://portal.example.org/", (200, 204), "ok")
    assert (found["witness/mail"].check, found["witness/mail"].rise) == (TcpCheck("192.0.2.25", 25), 4)
    tls = found["west/portal-certificate"].check
    assert tls == TlsCheck("portal.example.org", 443, str(tmp_path / "ca.pem"), 20)
    assert found["witness-1/chrony"].check == CommandCheck("witness-1", ("chronyc", "waitsync", "1"))
    assert len([name for name in found if name.endswith("/chrony")]) == 5


def test_a_round_of_nothing_is_nothing(tmp_path: Path) -> None:
    assert probe_round(loaded(tmp_path), specs=())() == ()
