"""Whatever stands in the file, the answer is a configuration or problems with places; never another error."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dcctl.config.load import load_file
from dcctl.errors import ConfigurationError

GOOD = yaml.safe_load((Path(__file__).parent / "cases" / "config" / "good.yaml").read_text())

words = st.sampled_from(["east", "west", "openstack", "zookeeper", "small", "env:A", "1s", "192.0.2.1", "no"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | words
values = st.recursive(
    scalars,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(words | st.text(max_size=4), below, max_size=3)
    ),
    max_leaves=6,
)


def places(document: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = [()]
    if isinstance(document, dict):
        found += [(key, *below) for key, value in document.items() for below in places(value)]
    if isinstance(document, list):
        found += [(key, *below) for key, value in enumerate(document) for below in places(value)]
    return found


def changed(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    document = copy.copy(document)
    document[place[0]] = changed(document[place[0]], place[1:], value)
    return document


def judged(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dcctl.yaml"
        path.write_bytes(content)
        try:
            load_file(path)
        except ConfigurationError as error:
            assert error.problems
            assert len(set(error.problems)) == len(error.problems)
            assert all(problem.file == str(path) for problem in error.problems)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(places(GOOD)), values)
def test_any_value_at_any_place(place: tuple[Any, ...], value: Any) -> None:
    judged(yaml.safe_dump(changed(GOOD, place, value), allow_unicode=True).encode())


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("abc:-[]{}#&*!|>'\"%@`,? \n\t01")) | st.text())
def test_any_text(text: str) -> None:
    judged(text.encode("utf-8", errors="surrogatepass"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes(content: bytes) -> None:
    judged(content)
