"""What pydantic found wrong, in the words of the person who wrote the file. No value is repeated from a
place where a secret could stand."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dcctl.config.document import Location, Node, locate
from dcctl.config.schema import Configuration
from dcctl.errors import Problem

_REWORDED = re.compile(r"^(Input|String|Value|Dictionary|Tuple) should")
_KINDS = {
    "string_type": "must be text; quote it",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}


def problems(
    error: ValidationError, root: Node, *, schema: type[BaseModel] = Configuration
) -> Iterator[Problem]:
    """Every finding of ``error`` against ``schema`` with the place in the files where it stands."""
    for detail in error.errors(include_url=False):
        location = tuple(part for part in detail["loc"] if part != "[key]")
        at_key = detail["type"] == "extra_forbidden" or detail["loc"][-1:] == ("[key]",)
        where = written(location, root)
        mark = locate(root, location, at_key=at_key)
        message = _message(detail, location, schema)
        yield mark.problem(f"{where}: {message}" if where else message)


def written(location: Location, root: Node) -> str:
    """``location`` as it is spoken of, without what pydantic adds to it (the tag of a union)."""
    text = ""
    node: Node | None = root
    for position, part in enumerate(location):
        below = node.child(part) if node is not None else None
        if below is None and node is not None and position < len(location) - 1:
            continue
        node = below
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _message(detail: ErrorDetails, location: tuple[str | int, ...], schema: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    match kind:
        case _ if kind.endswith("_type") and detail["input"] is None:
            message = "has no value"
        case "extra_forbidden":
            message = "unknown key" + did_you_mean(str(location[-1]), _keys(location[:-1], schema))
        case "missing":
            message = "is required and missing"
        case "value_error":
            message = str(context["error"])
        case "union_tag_not_found":
            message = "kind is required and missing"
        case "union_tag_invalid":
            message = f"kind {_choice(context['expected_tags'], str(context['tag']))}"
        case "literal_error":
            message = _choice(context["expected"], str(detail["input"]))
        case _:
            message = _KINDS.get(kind) or _REWORDED.sub("must", detail["msg"]).removeprefix("Input ")
    return message


def _choice(expected: str, value: str) -> str:
    known = expected.replace("'", "").replace(" or ", ", ").split(", ")
    return f"must be {' or '.join(known)}" + did_you_mean(value, known, few=0)


def did_you_mean(word: str, known: Sequence[str], *, few: int = 24) -> str:
    """``; did you mean …?``, or what is known when that is not more than ``few``, or nothing."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= few else ""


def _keys(location: tuple[str | int, ...], schema: type[BaseModel]) -> list[str]:
    """The keys that ``schema`` allows at ``location``."""
    current: Any = schema
    for part in location:
        current = _below(current, part)
    return [*current.model_fields] if isinstance(current, type) and issubclass(current, BaseModel) else []


def _below(annotation: Any, part: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return _bare(field.annotation) if field is not None else None
    if get_origin(annotation) is dict:
        return _bare(get_args(annotation)[1])
    if get_origin(annotation) in (Union, UnionType):
        return next((one for one in get_args(annotation) if part in _tags(one)), None)
    return None


def _bare(annotation: Any) -> Any:
    """Without metadata and without None."""
    while hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        options = [one for one in get_args(annotation) if one is not type(None)]
        return _bare(options[0]) if len(options) == 1 else annotation
    return annotation


def _tags(model: Any) -> Mapping[str, None] | tuple[str, ...]:
    field = getattr(model, "model_fields", {}).get("kind")
    return get_args(field.annotation) if field is not None else ()
