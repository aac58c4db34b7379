"""Every role, once, on a machine that has none of its packages: they come from a mirror in the lab."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployable import Define, environment
from guests import inside

from dcctl.lab.paths import DEBS, OPERATOR_ADDRESS, OPERATOR_NAMESPACE

pytestmark = [pytest.mark.lab, pytest.mark.bare]

PORT = 8189
FIRST = 230
VARIABLES = f"""
base_apt_sources:
  - {{uris: "http://{OPERATOR_ADDRESS}:{PORT}", suites: ./, trusted: true}}
"""
PACKAGES = {"east-db-1": ("zookeeper", "postgresql-15", "patroni"), "east-edge-1": ("haproxy", "pgbouncer")}


@pytest.fixture
def mirror(substrate: object) -> Iterator[None]:
    """The packages that the golden image was made of, over HTTP in the operator's network."""
    server = [sys.executable, "-m", "http.server", "--bind", OPERATOR_ADDRESS, "--directory", str(DEBS)]
    with subprocess.Popen(
        inside(OPERATOR_NAMESPACE, *server, str(PORT)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _await_index()
            yield
        finally:
            process.terminate()


def _await_index() -> None:
    index = f"http://{OPERATOR_ADDRESS}:{PORT}/Packages"
    ask = f"import urllib.request; urllib.request.urlopen({index!r}, timeout=2)"
    ends = time.monotonic() + 20
    while subprocess.run(
        inside(OPERATOR_NAMESPACE, sys.executable, "-c", ask), capture_output=True, check=False
    ).returncode:
        assert time.monotonic() < ends, "the mirror does not serve its index"
        time.sleep(0.1)


def test_every_role_on_a_bare_machine(mirror: None, guest: Define, tmp_path: Path) -> None:
    bare = environment(tmp_path / "bare", guest, name="bare", first=FIRST, bare=tuple(PACKAGES))
    (bare.folder / "group_vars").mkdir()
    (bare.folder / "group_vars" / "all.yml").write_text(VARIABLES)
    for name, packages in PACKAGES.items():
        known = bare.guests[name].run(f"dpkg-query -W {' '.join(packages)} 2>/dev/null || true")
        assert known == ""

    compared = bare.dcctl("deploy", "--check")
    assert compared.returncode == 8, compared.stderr

    first = bare.deploy(limit_s=600)
    installed = {change["machine"] for change in first["changes"] if "nstall" in change["task"]}
    assert installed == set(PACKAGES)
    for name, packages in PACKAGES.items():
        shown = "dpkg-query --show --showformat='${db:Status-Status} ' " + " ".join(packages)
        assert set(bare.guests[name].run(shown).split()) == {"installed"}
    assert {finding["role"] for finding in first["findings"]} == {"base", "zookeeper", "postgresql", "edge"}

    assert bare.deploy()["changed"] == 0
