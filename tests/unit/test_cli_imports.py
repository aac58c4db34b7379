"""The prompt answers at once: help and usage errors load no vendor, whatever commands there are."""

import subprocess
import sys

import pytest

VENDORS = (
    "openstack",
    "pyVmomi",
    "ansible",
    "ansible_runner",
    "kazoo",
    "pydantic",
    "rich",
    "requests",
    "aiohttp",
    "jinja2",
    "paramiko",
    "swiftclient",
    "psycopg",
    "prometheus_client",
    "yaml",
)
PROGRAM = """
import sys
from dcctl.cli.main import run
code = run(sys.argv[1:])
print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules} & set(%r)), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["--help"], 0), (["--version"], 0), ([], 2), (["sttaus"], 2), (["config", "--help"], 0)],
)
def test_no_vendor_is_loaded(argv: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % (VENDORS,), *argv], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert done.stderr.splitlines()[-1] == "loaded:"
