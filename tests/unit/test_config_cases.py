"""Wrong configurations and what is said about them: ``cases/config/NAME.yaml`` beside ``NAME.problems``.

Most cases extend ``good.yaml`` and say only what is wrong. No file's problems may repeat a secret: the
word ``hunter2`` stands for one wherever a value could be one.
"""

from itertools import pairwise
from pathlib import Path

import pytest

from dcctl.config.load import load_file
from dcctl.errors import ConfigurationError

CASES = Path(__file__).parent / "cases" / "config"
WRONG = sorted(path.stem for path in CASES.glob("*.problems"))


@pytest.mark.parametrize("name", WRONG)
def test_every_problem_is_reported_with_its_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    with pytest.raises(ConfigurationError) as raised:
        load_file(Path(f"{name}.yaml"))
    said = [str(problem) for problem in raised.value.problems]
    assert said == (CASES / f"{name}.problems").read_text().splitlines()
    assert "hunter2" not in str(raised.value)
    assert raised.value.next_command == f"$EDITOR {name}.yaml"


def test_every_wrong_file_has_its_problems() -> None:
    files = {path.stem for path in CASES.glob("*.yaml")}
    assert files - set(WRONG) == {"good"}


def test_the_good_file_is_good() -> None:
    assert load_file(CASES / "good.yaml").environment == "good"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.yaml: cannot be read: No such file"):
        load_file(tmp_path / "gone.yaml")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "dcctl.yaml").write_bytes(b"environment: \xff\xfe")
    with pytest.raises(ConfigurationError, match=r"is not text in UTF-8 \(byte 13\)"):
        load_file(tmp_path / "dcctl.yaml")


def test_a_character_that_yaml_does_not_allow(tmp_path: Path) -> None:
    (tmp_path / "dcctl.yaml").write_text("environment: \x07")
    with pytest.raises(ConfigurationError, match="a character that YAML does not allow"):
        load_file(tmp_path / "dcctl.yaml")


@pytest.mark.parametrize("text", ["[" * 3000, "{a: " * 3000, "[" * 200 + "]" * 200])
def test_a_file_that_is_nested_without_end(tmp_path: Path, text: str) -> None:
    (tmp_path / "dcctl.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"nested too deeply|must be a mapping"):
        load_file(tmp_path / "dcctl.yaml")


def test_a_small_file_that_unfolds_to_a_huge_one(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{below}'] * 8)}]" for below, name in pairwise("abcdefgh")]
    (tmp_path / "dcctl.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match="unfolds to more than 20000 values") as raised:
        load_file(tmp_path / "dcctl.yaml")
    assert len(raised.value.problems) == 1
