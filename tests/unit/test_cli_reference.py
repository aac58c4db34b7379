"""The reference of the command line says what the commands say."""

from pathlib import Path

from dcctl.cli.main import COMMANDS
from dcctl.cli.reference import generated, page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def test_the_page_is_what_the_commands_say() -> None:
    renew = "python -m dcctl.cli.reference docs/reference/cli.md"
    assert PAGE.read_text(encoding="utf-8") == page(PAGE), f"renew it: {renew}"


def test_every_command_has_its_section_and_one_line() -> None:
    text = generated()
    for name, (_where, line) in COMMANDS.items():
        assert f"## dcctl {name}\n" in text
        assert line.endswith(".")
