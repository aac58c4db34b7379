"""The entry point: which exit code, and which sentence, for every way a command can end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from dcctl import errors
from dcctl.cli import main
from dcctl.cli.session import Session, command_options
from dcctl.errors import Problem

PACKAGE = Path(main.__file__).parents[2]
ended_by: Callable[[], Any] = lambda: None  # noqa: E731  # set by each test


@click.command()
@command_options
def sample_command(session: Session) -> Any:
    """End in the way that the test chose."""
    click.echo(f"{session.environment} {session.output}")
    return ended_by()


@pytest.fixture
def ends() -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Register the command ``sample`` and choose how it ends."""

    def choose(way: Callable[[], Any]) -> None:
        global ended_by  # noqa: PLW0603  # click calls the command without our arguments
        ended_by = way

    main.COMMANDS["sample"] = (f"{__name__}:sample_command", "For tests.")
    yield choose
    del main.COMMANDS["sample"]


def raising(error: BaseException) -> Callable[[], Any]:
    def way() -> Any:
        raise error

    return way


TREE: list[tuple[errors.DcctlError, int]] = [
    (errors.UsageError("x"), 2),
    (errors.ConfigurationError((Problem("dcctl.yaml", 3, 5, "wrong"),)), 3),
    (errors.Unreachable("list servers", on="east", saw="no route"), 4),
    (errors.CredentialsRefused("log in", on="west"), 4),
    (errors.TimedOut("wait"), 4),
    (errors.Busy("copy", on="east", saw="HTTP 503"), 4),
    (errors.Rejected("create"), 4),
    (errors.NotFound("find"), 4),
    (errors.Refused("fail over", reasons=("no quorum", "no fence")), 5),
    (errors.Overtaken("the failover", on="east", reasons=("east is back",)), 5),
    (errors.StepFailed("deploy", run="r1", step="s1"), 6),
    (errors.LeadershipLost("lead auction", saw="cut off"), 6),
    (errors.Deviated("drill"), 7),
    (errors.DriftFound("compare"), 8),
    (errors.UndoIncomplete("heal", left=("a rule",)), 9),
    (errors.Interrupted("deploy"), 130),
    (errors.Aborted("deploy", run="r1"), 130),
]


def test_the_table_above_has_every_error() -> None:
    below = {errors.DcctlError}
    while more := {kind for one in below for kind in one.__subclasses__()} - below:
        below |= more
    assert {type(error) for error, _code in TREE} == below - {errors.DcctlError}


@pytest.mark.parametrize(("error", "code"), TREE, ids=lambda value: type(value).__name__)
def test_each_error_ends_with_its_code_and_a_sentence(
    error: errors.DcctlError, code: int, ends: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    error.next_command = "dcctl status"
    ends(raising(error))
    assert main.run(["sample"]) == code
    said = capsys.readouterr().err
    assert said.endswith("next: dcctl status\n")
    assert "Traceback" not in said


@pytest.mark.parametrize(("error", "code"), TREE, ids=lambda value: type(value).__name__)
def test_with_json_the_error_is_one_object(
    error: errors.DcctlError, code: int, ends: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(raising(error))
    assert main.run(["sample", "-o", "json"]) == code
    document = json.loads(capsys.readouterr().err)
    assert (document["error"], document["exit_code"]) == (type(error).__name__, code)


def test_every_reason_problem_and_remainder_has_its_line(
    ends: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = errors.Refused("fail over", reasons=("no quorum", "no fence"), on="west")
    refused.add_note("also failed: notify")
    ends(raising(refused))
    main.run(["sample"])
    assert capsys.readouterr().err == (
        "refused: fail over on west\n  - no quorum\n  - no fence\n  also failed: notify\n"
    )
    ends(raising(errors.ConfigurationError((Problem("a.yaml", 3, 5, "x"), Problem("env:NAME", 0, 0, "y")))))
    main.run(["sample"])
    assert capsys.readouterr().err == (
        "error: the configuration has 2 problems\n  a.yaml:3:5: x\n  env:NAME: y\n"
    )
    ends(raising(errors.UndoIncomplete("heal", left=("rule 1", "rule 2"))))
    main.run(["sample"])
    assert capsys.readouterr().err == "error: heal; this is left:\n  - rule 1\n  - rule 2\n"
    ends(raising(errors.StepFailed("start", run="r1", step="s1", on="east-db-1", saw="boom")))
    main.run(["sample"])
    assert capsys.readouterr().err == "error: start on east-db-1: boom\n  run r1, step s1\n"


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (8, 8), ("text", 0)])
def test_a_command_may_return_its_exit_code(ends: Any, result: Any, code: int) -> None:
    ends(lambda: result)
    assert main.run(["sample"]) == code


def test_an_interrupt_says_what_its_notes_say(ends: Any, capsys: pytest.CaptureFixture[str]) -> None:
    interrupt = KeyboardInterrupt()
    interrupt.add_note("the cut was healed")
    ends(raising(interrupt))
    assert main.run(["sample"]) == 130
    assert capsys.readouterr().err.strip() == "error: interrupted\n  the cut was healed"


def test_a_bug_is_one_sentence_and_a_file(
    ends: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv(main.DEBUG_VARIABLE, raising=False)
    ends(raising(KeyError("east")))
    assert main.run(["sample"]) == 1
    (kept,) = (tmp_path / "dcctl" / "bugs").iterdir()
    assert capsys.readouterr().err == (
        f"error: this is a bug in dcctl: KeyError: 'east'\nnext: report it with {kept}\n"
    )
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_bug_is_shown_when_asked_for_and_when_there_is_no_place_for_it(
    ends: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dcctl").write_text("in the way")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv(main.DEBUG_VARIABLE, raising=False)
    ends(raising(ValueError("one\ntwo")))
    assert main.run(["sample"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: this is a bug in dcctl: ValueError: one",
        "next: DCCTL_DEBUG=1 and the same command again",
    ]
    monkeypatch.setenv(main.DEBUG_VARIABLE, "1")
    assert main.run(["sample"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_broken_pipe_that_is_not_our_output_is_a_bug(
    ends: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(main.DEBUG_VARIABLE, "1")
    ends(raising(BrokenPipeError("a socket")))
    assert main.run(["sample"]) == 1
    assert "this is a bug in dcctl: BrokenPipeError: a socket" in capfd.readouterr().err


def test_the_words_before_and_after_the_command(
    ends: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(lambda: 0)
    monkeypatch.delenv(main.ENVIRONMENT_VARIABLE, raising=False)
    main.run(["sample"])
    main.run(["-e", "one", "-o", "json", "sample"])
    main.run(["-e", "one", "sample", "-e", "two", "-o", "json"])
    monkeypatch.setenv(main.ENVIRONMENT_VARIABLE, "three")
    main.run(["sample"])
    main.run(["-e", "one", "sample"])
    main.run(["sample", "-e", "two"])
    assert capsys.readouterr().out.splitlines() == [
        "None text",
        "one json",
        "two json",
        "three text",
        "one text",
        "two text",
    ]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["confg"], "No such command 'confg'. Did you mean 'config'?"),
        (["config", "chek"], "No such command 'chek'. Did you mean 'check'?"),
        (["config", "check", "--secret"], "No such option '--secret'. Did you mean '--secrets'?"),
        (["-o", "yaml", "config"], "Invalid value for '-o'"),
        (["init", "a", "b"], "Got unexpected extra argument (b)"),
    ],
)
def test_usage_errors_suggest(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(argv) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "next: dcctl" in error
    assert "--help" in error


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 2
    assert "Commands:" in capsys.readouterr().err


ENDLESS = """
import sys, time
from pathlib import Path
import click
from dcctl.cli import main

@click.command()
def wait():
    print("waiting", flush=True)
    time.sleep(60)

sys.modules["waiting"] = sys.modules["__main__"]
main.COMMANDS["wait"] = ("waiting:wait", "For tests.")
main.main(["wait"])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_asks_to_end_is_an_interrupt(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PACKAGE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        _out, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, said.strip()) == (130, "error: interrupted")


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dcctl.cli.main", "schema"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=PACKAGE,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_shell_completes_commands_and_environments() -> None:
    def completed(words: str, number: int) -> list[str]:
        variables = {"_DCCTL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        done = subprocess.run(
            [sys.executable, "-c", "from dcctl.cli.main import main; main()"],
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=PACKAGE,
        )
        return done.stdout.splitlines()

    assert completed("dcctl conf", 1) == ["plain,config"]
    assert "plain,example/staging" in completed("dcctl -e exam", 2)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("failover", "plan", "--lost", "east", "--lost", "west"), "--lost"),
        (("failover", "apply", "--lost", "east", "--lost", "west", "--yes"), "--lost"),
        (("switchover", "apply", "--to", "east", "--to", "west", "--yes"), "--to"),
        (("failback", "apply", "--to", "east", "--to", "west", "--yes"), "--to"),
        (("capacity", "--lose", "east", "--lose", "west"), "--lose"),
    ],
)
def test_of_two_sites_none_is_taken(
    words: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(list(words)) == 2
    assert f"{option} was given 2 times (east, west): it names one site" in capsys.readouterr().err
