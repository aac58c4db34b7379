"""The acceptance of machines after a deploy: run over SSH by `dcctl deploy`, one file per role.

Given in the environment: DCCTL_MACHINES, a JSON file that says which machines there are (name, address,
place, roles) and which of them to look at; DCCTL_FINDINGS, where each finding is appended as one JSON line
as soon as it is known. A check's name is its function's; what it found wrong is the message of its assert.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

SILENT: dict[str, str] = {}
"""Machines that do not answer, and what was seen: they are asked once."""


@pytest.fixture(autouse=True)
def _answers(host) -> None:
    """A machine that does not answer fails all its checks at once, with the reason."""
    name = host.backend.get_pytest_id().removeprefix("ssh://")
    if name not in SILENT:
        try:
            host.run("true")
            SILENT[name] = ""
        except RuntimeError as error:
            SILENT[name] = (getattr(error.args[0], "stderr", "") or str(error)).strip()
    if SILENT[name]:
        pytest.fail(f"no answer over SSH: {SILENT[name]}", pytrace=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Append what is known of each check, as soon as it is."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped or (report.when != "call" and not report.failed):
        return
    finding = {
        "machine": item.callspec.id.removeprefix("ssh://"),
        "role": item.path.stem.removeprefix("test_"),
        "check": item.originalname.removeprefix("test_").replace("_", " "),
        "passed": report.passed,
        "message": "" if report.passed else _message(report),
    }
    with Path(os.environ["DCCTL_FINDINGS"]).open("a", encoding="utf-8") as findings:
        findings.write(json.dumps(finding) + "\n")


def _message(report: pytest.TestReport) -> str:
    """The sentence of the assert that failed, without pytest's explanation of it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    return text.removeprefix("AssertionError: ").split("\nassert ")[0].strip()
