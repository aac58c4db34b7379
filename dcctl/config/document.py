"""A YAML file as a tree that remembers where everything was written, and one file extending another."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from dcctl.errors import Problem

Location = Sequence[str | int]

EXTENDS = "extends"
MOST_VALUES = 20_000


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file, as people see it."""

    file: str
    line: int
    column: int

    def problem(self, message: str) -> Problem:
        return Problem(self.file, self.line, self.column, message)


@dataclass(frozen=True, slots=True)
class Node:
    """A value with the place where it stands and, in a mapping, where its key stands."""

    value: Any
    """A scalar, a ``dict[str, Node]`` or a ``list[Node]``."""
    mark: Mark
    key: Mark | None = None

    def child(self, part: str | int) -> "Node | None":
        if isinstance(self.value, dict):
            below: Node | None = self.value.get(str(part))
            return below
        if isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            found: Node = self.value[part]
            return found
        return None

    def plain(self) -> Any:
        """The same as ordinary dictionaries, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def locate(root: Node, location: Location, *, at_key: bool = False) -> Mark:
    """Where ``location`` was written, or the nearest thing around it that was.

    Parts that are not in the tree (a key that is missing, a union's tag) are passed over.
    """
    node = root
    for part in location:
        node = node.child(part) or node
    if node.key is not None and (at_key or isinstance(node.value, dict | list)):
        return node.key
    return node.mark


def read(path: Path) -> tuple[Node | None, tuple[Problem, ...]]:
    """The tree of ``path`` with everything it extends merged in, and every problem met on the way.

    The tree is None when nothing can be said about its content.
    """
    return _read(path, ())


def _read(path: Path, extended_by: tuple[Path, ...]) -> tuple[Node | None, tuple[Problem, ...]]:
    root, problems = _compose(path)
    if root is None or not isinstance(root.value, dict) or EXTENDS not in root.value:
        return root, problems
    extends = root.value[EXTENDS]
    own = replace(root, value={key: node for key, node in root.value.items() if key != EXTENDS})
    wrong = _wrong_parent(path, extends.value, extended_by)
    if wrong:
        # Without its parent the file misses most of what it needs: nothing useful can be said about that.
        return None, (*problems, extends.mark.problem(f"extends: {wrong}"))
    inherited, more = _read(path.parent / extends.value, (*extended_by, path))
    return (merge(inherited, own) if inherited is not None else None), (*problems, *more)


def _wrong_parent(path: Path, extends: object, extended_by: tuple[Path, ...]) -> str:
    if not isinstance(extends, str) or not extends:
        return "must be the path of a file"
    parent = path.parent / extends
    if parent.resolve() in {step.resolve() for step in (*extended_by, path)}:
        return f"{shown(parent)} is this very file, or extends it"
    return "" if parent.is_file() else f"there is no file {shown(parent)}"


def merge(inherited: Node, own: Node) -> Node:
    """``own`` over ``inherited``: mappings key by key, anything else replaced, an empty value removes."""
    if not isinstance(inherited.value, dict) or not isinstance(own.value, dict):
        return own
    merged = dict(inherited.value)
    for key, node in own.value.items():
        if key not in merged:
            merged[key] = node
        elif node.value is None:
            del merged[key]
        else:
            merged[key] = merge(merged[key], node)
    return replace(own, value=merged)


def shown(path: Path) -> str:
    """``path`` as it can be typed from here."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # links stay as the operator knows them
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


def _compose(path: Path) -> tuple[Node | None, tuple[Problem, ...]]:
    file = shown(path)
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        return None, (_not_yaml(file, error),)
    if root is None:
        return None, (Problem(file, 1, 1, "is empty; dcctl init writes a commented start"),)
    builder = _Builder(file)
    built = builder.build(root)
    return (built if builder.readable else None), tuple(builder.problems)


def _not_yaml(file: str, error: Exception) -> Problem:
    """Why ``file`` could not be parsed at all."""
    match error:
        case OSError():
            return Problem(file, 0, 0, f"cannot be read: {error.strerror or error}")
        case UnicodeDecodeError():
            return Problem(file, 0, 0, f"is not text in UTF-8 (byte {error.start})")
        case yaml.MarkedYAMLError():
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            return Problem(file, line, column, f"is not YAML: {_yaml_words(error)}")
        case RecursionError():
            return Problem(file, 1, 1, "is nested too deeply")
        case _:
            return Problem(file, 1, 1, "is not YAML: it holds a character that YAML does not allow")


def _yaml_words(error: yaml.MarkedYAMLError) -> str:
    """The parser's own words, without any text of the file: a secret may be there by mistake."""
    words = error.problem or "it cannot be parsed"
    return words.split(" '")[0].split(' "')[0] if "alias" in words or "tag" in words else words


class _Builder:
    """Turns PyYAML's nodes into ours and notes what YAML allows but we do not."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self.readable = True
        self._left = MOST_VALUES
        self._file = file
        self._open: list[yaml.Node] = []
        self._scalars = yaml.constructor.SafeConstructor()

    def build(self, node: yaml.Node, key: Mark | None = None) -> Node:
        mark = self._mark(node)
        self._left -= 1
        if wrong := self._never_ends(node):
            if self.readable or self._left > 0:
                self._unreadable(mark, wrong)
            return Node(None, mark, key)
        self._open.append(node)
        try:
            return Node(self._value(node), mark, key)
        finally:
            self._open.pop()

    def _never_ends(self, node: yaml.Node) -> str:
        """Why ``node`` cannot be unfolded, or nothing. Aliases make small files endless or huge."""
        if any(node is around for around in self._open):
            return "refers to itself"
        return "" if self._left > 0 else f"unfolds to more than {MOST_VALUES} values"

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _value(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item) for item in node.value]
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self._unreadable(self._mark(node), "has a value or a tag that is not allowed here")
            return None

    def _unreadable(self, mark: Mark, message: str) -> None:
        """Note that something has no value, so that the rest cannot be judged."""
        self.readable = False
        self.problems.append(mark.problem(message))

    def _mapping(self, pairs: Iterable[tuple[yaml.Node, yaml.Node]]) -> dict[str, Node]:
        built: dict[str, Node] = {}
        for key_node, value_node in pairs:
            mark = self._mark(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(mark.problem("a key must be plain text"))
                continue
            # A key is what was written: YAML would read the names "no" and "on" as false and true.
            key = key_node.value
            if key == "<<":
                self.problems.append(mark.problem("merge keys are not supported; use extends"))
                continue
            if key in built:
                first = built[key].key or mark
                self.problems.append(
                    mark.problem(f"duplicate key {key!r}; it was first given on line {first.line}")
                )
                continue
            built[key] = self.build(value_node, mark)
        return built
