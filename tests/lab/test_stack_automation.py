"""A site is lost while nobody looks: the controller gives it up, unless a person has said to wait."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from moving import admitted, asked, automatic, dark, rotation, wait_for, whole, writing
from stack import Stack, joined, opened

from dcctl.domain.history import check
from dcctl.domain.history_primary import check_primary
from dcctl.lab import operator
from dcctl.lab.process import run

pytestmark = pytest.mark.lab

WITNESS = "witness-1"


@pytest.fixture(scope="module")
def stack(whole_stack: Path) -> Iterator[Stack]:
    with joined("dcctl-operator"), opened(whole_stack) as found:
        yield found


def test_a_lost_site_is_given_up_by_itself_and_not_while_automation_is_paused(stack: Stack) -> None:
    wait_for(lambda: f"@{WITNESS}:" in (asked(stack, "automation", "show")["controller"] or ""))
    wait_for(lambda: whole(stack))
    lost = asked(stack, "status")["database"]["primary_place"]
    with automatic(stack, lost), writing(stack, "automation") as history:
        stack.dcctl("automation", "pause", "--reason", "a test looks on")
        with dark(lost) as since:
            wait_for(lambda: "is lost and is not given up: automation was paused" in told(since))
            assert rotation(stack)[lost] == "active", "a person's word stands above it"
            stack.dcctl("automation", "resume")
            wait_for(lambda: gave_up(stack, lost))
            assert rotation(stack)[lost] == "quarantined"
        seen = history()
    findings, primary = check(seen), check_primary(seen)
    assert findings.final_read
    assert (findings.lost, findings.vanished) == ((), ())
    assert (primary.overlapped, primary.fell, primary.unattributed) == ((), (), ())
    wait_for(lambda: admitted(stack, lost))
    assert set(rotation(stack).values()) == {"active"}, "only a person puts it back"
    wait_for(lambda: whole(stack))


def told(since: float) -> str:
    """What the controller said."""
    words = f"sudo journalctl -u dcctl-agent -o cat --since @{int(since)}"
    return run(operator.ssh(operator.find(WITNESS), (words,)))


def gave_up(stack: Stack, lost: str) -> bool:
    last = asked(stack, "automation", "show")["last"]
    return last is not None and (last["site"], last["done"]) == (lost, True)
