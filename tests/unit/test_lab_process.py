"""Programs that fail, hang or are missing, and families of processes."""

import os
import subprocess
import sys
import time

import pytest

from dcctl.errors import Rejected, TimedOut, Unreachable
from dcctl.lab import process
from dcctl.lab.up import together


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(Rejected) as failed:
        process.run(["sh", "-c", "echo out; echo first >&2; echo second >&2; exit 3"])
    assert failed.value.saw == "first | second"


def test_a_program_that_fails_silently_gives_its_code() -> None:
    with pytest.raises(Rejected) as failed:
        process.run(["sh", "-c", "exit 3"])
    assert failed.value.saw == "exit 3"


def test_a_program_that_hangs_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(TimedOut):
        process.run(["sleep", "60"], limit_s=0.1)
    assert time.monotonic() - began < 10


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(Unreachable) as missing:
        process.run(["no-such-program"])
    assert missing.value.sentence() == "run no-such-program: it is not installed"


def test_standard_input_and_output_pass_through() -> None:
    assert process.run(["cat"], stdin="words") == "words"


def test_a_family_is_found_downwards_and_upwards() -> None:
    script = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", script]) as child:
        until = time.monotonic() + 10
        while len(found := process.descendants(child.pid)) < 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert set(found) <= set(process.descendants(os.getpid()))
        assert child.pid in process.ancestors(found[0])
        assert os.getpid() in process.ancestors(found[0])
        for pid in found:
            os.kill(pid, 9)
        child.wait(10)
    assert child.pid not in process.running()


def test_together_waits_for_all() -> None:
    done: list[str] = []
    together({name: lambda name=name: done.append(name) for name in ("one", "two")})  # type: ignore[misc]
    assert sorted(done) == ["one", "two"]


def test_one_failure_ends_the_others_and_is_raised_with_its_name() -> None:
    def fail() -> None:
        raise Rejected("build the image", saw="no space left on device")

    ended: list[str] = []

    def hang() -> None:
        try:
            process.run(["sleep", "60"], limit_s=60)
        except Rejected:
            ended.append("hang")

    began = time.monotonic()
    with pytest.raises(Rejected, match="no space left") as failed:
        together({"hang": hang, "fail": fail})
    assert failed.value.__notes__ == ["while working on: fail"]
    assert ended == ["hang"]
    assert time.monotonic() - began < 10
