"""The schema as values and as JSON Schema."""

from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from dcctl.config.draft import draft
from dcctl.config.load import load_file
from dcctl.config.schema import KNOWN_ROLES, REQUIRED_SECRETS, Configuration, json_schema
from dcctl.resources import inventories

CASES = Path(__file__).parent / "cases" / "config"


def test_a_configuration_never_changes() -> None:
    configuration = load_file(CASES / "good.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        configuration.environment = "other"  # type: ignore[misc]  # that is the point


def test_nothing_of_a_secret_is_in_a_dump() -> None:
    dumped = load_file(CASES / "good.yaml").model_dump_json()
    assert '"password":"env:VCENTER_PASSWORD"' in dumped


def test_what_is_dumped_is_read_as_the_same() -> None:
    configuration = load_file(CASES / "good.yaml")
    again = Configuration.model_validate(configuration.model_dump(mode="json", exclude_none=True))
    assert again == configuration


def test_the_json_schema_accepts_what_we_accept() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in (CASES / "good.yaml", inventories() / "lab" / "dcctl.yaml"):
        assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []


@pytest.mark.parametrize(
    "change", [{"colour": "blue"}, {"objectives": {"recovery_time": "60"}}, {"environment": "A"}]
)
def test_the_json_schema_refuses_what_we_refuse(change: dict[str, object]) -> None:
    document = yaml.safe_load((CASES / "good.yaml").read_text()) | change
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(document))


def test_the_required_secrets_are_of_known_roles() -> None:
    assert set(REQUIRED_SECRETS) <= set(KNOWN_ROLES)


@pytest.mark.parametrize(
    "document", [None, 3, [], {}, {"sites": 1, "machines": [], "witness": "x", "rules": 1}]
)
def test_a_draft_can_be_made_of_anything(document: object) -> None:
    read = draft(document)
    assert not read.sites
    assert not read.groups
