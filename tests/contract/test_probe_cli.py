"""``dcctl probe`` at the prompt: what it prints, what it narrows to, and its exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from probe_servers import http, serving

from dcctl.cli.main import run

GOOD = Path(__file__).parents[1] / "unit" / "cases" / "config" / "good.yaml"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An environment whose portal answers and whose shop does not; nothing else of it is asked."""
    monkeypatch.delenv("POSTGRESQL_APP", raising=False)
    with serving(http("all \x1b[2Jwell")) as portal, serving(http("no", status="500 No")) as shop:
        (tmp_path / "dcctl.yaml").write_text(
            f"""extends: {GOOD}
probes:
  own:
    portal: {{kind: http, site: east, url: "http://127.0.0.1:{portal}/"}}
    shop: {{kind: http, site: west, url: "http://127.0.0.1:{shop}/"}}
"""
        )
        yield str(tmp_path)


def test_a_wrong_target_is_a_result(environment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-e", environment, "probe", "portal", "west/shop"]) == 0
    head, _titles, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("2 probes from here, in ")
    assert head.endswith("1 right, 1 wrong")
    assert [line.split()[:3] for line in lines] == [
        ["east/portal", "http", "right"],
        ["west/shop", "http", "wrong"],
    ]
    assert lines[1].split()[4:] == ["HTTP", "500:", "no"]


def test_the_same_for_programs(environment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-e", environment, "probe", "shop", "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (result,) = document["results"]
    assert (document["from"], result["name"], result["site"]) == ("operator", "west/shop", "west")
    assert (result["ok"], result["answered"], result["health"]) == (False, True, "unknown")


def test_nothing_could_be_asked(environment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-e", environment, "probe", "writes"]) == 4  # its password is nowhere
    assert "nothing could be asked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prtal"], "nothing is probed as 'prtal'; did you mean portal?"),
        (["--from", "east"], "no machine has an agent"),
    ],
)
def test_words_that_nobody_knows(
    environment: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-e", environment, "probe", *words]) == 2
    assert said in capsys.readouterr().err
