"""docs/reference/configuration.md speaks of every key, role, secret and scheme that the schema knows."""

from pathlib import Path

from dcctl.config.reference import SCHEMES
from dcctl.config.schema import KNOWN_ROLES, REQUIRED_SECRETS, json_schema

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"


def test_every_word_of_the_schema_is_on_the_page() -> None:
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    keys = {key for section in sections for key in section.get("properties", {})}
    words = keys | set(KNOWN_ROLES) | {name for names in REQUIRED_SECRETS.values() for name in names}
    text = PAGE.read_text()
    spoken = text.replace(".", "`")
    assert {word for word in words if f"`{word}`" not in spoken} == set()
    assert all(f"`{scheme}:" in text for scheme in SCHEMES)
