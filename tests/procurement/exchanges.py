"""Published exchanges: a request and its response in one file, and how ours is compared with theirs.

What is compared: the status; every field of their answer, its type, and its value where the value is not
one that each server makes up (identifiers, tokens, dates, addresses, signatures). Identifiers are mapped:
the first time one of theirs meets one of ours they are paired, and must stay so.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_ID = re.compile(r"[0-9a-f]{32}")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d\Z")
_NUMBER = re.compile(r"UA-\d{4}-\d\d-\d\d-\d{6}-a\Z")

# Fields of theirs that this application does not have, and why.
UNSUPPORTED = {
    "contractChangeRationaleTypes": "a constant dictionary of Ukrainian law that every tender carries",
}


@dataclass(frozen=True)
class Exchange:
    """One request and the response that Prozorro published for it."""

    name: str
    method: str
    target: str
    headers: dict[str, str]
    body: str
    status: int
    answer_headers: dict[str, str]
    answer: Any

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"] if self.body else None


def parse(path: Path) -> Exchange:
    """The exchange in a file. The response begins at the line with its status."""
    lines = path.read_text(encoding="utf-8").split("\n")
    begin = next(n for n, line in enumerate(lines) if re.match(r"(HTTP/1\.\d )?\d{3} \w", line))
    request, response = lines[:begin], lines[begin:]
    method, target, _ = request[0].split(" ")
    headers, body = _split(request[1:])
    answer_headers, answer = _split(response[1:])
    status = int(re.sub(r"^HTTP/1\.\d ", "", response[0]).split(" ")[0])
    parsed = json.loads(answer) if answer else None
    return Exchange(path.stem, method, target, headers, body, status, answer_headers, parsed)


def _split(lines: list[str]) -> tuple[dict[str, str], str]:
    end = lines.index("") if "" in lines else len(lines)
    headers = dict(line.split(": ", 1) for line in lines[:end])
    return headers, "\n".join(lines[end + 1 :]).strip()


@dataclass
class Pairs:
    """Identifiers and tokens of theirs and ours that mean the same."""

    ours: dict[str, str] = field(default_factory=dict)

    def pair(self, theirs: str, ours: str) -> bool:
        return self.ours.setdefault(theirs, ours) == ours

    def translate(self, text: str) -> str:
        """Their text with our identifiers."""
        return _ID.sub(lambda match: self.ours.get(match[0], match[0]), text)

    def differences(self, theirs: Any, ours: Any, where: str = "") -> list[str]:
        """Every difference that a client could notice, with its place."""
        if where.endswith(".offset"):  # opaque; only whether there is one matters
            return [] if bool(theirs) == bool(ours) and isinstance(ours, str) else [f"{where}: {ours!r}"]
        if isinstance(theirs, dict) and isinstance(ours, dict):
            return self._objects(theirs, ours, where)
        if isinstance(theirs, list) and isinstance(ours, list):
            if len(theirs) != len(ours):
                return [f"{where}: {len(theirs)} entries became {len(ours)}"]
            return [
                found
                for n, (their, our) in enumerate(zip(theirs, ours, strict=True))
                for found in self.differences(their, our, f"{where}[{n}]")
            ]
        same = (
            self._texts(theirs, ours) if isinstance(theirs, str) and isinstance(ours, str) else theirs == ours
        )
        if same and type(theirs) is type(ours):
            return []
        return [f"{where}: {theirs!r} became {ours!r}"]

    def _objects(self, theirs: dict[str, Any], ours: dict[str, Any], where: str) -> list[str]:
        expected = {name: value for name, value in theirs.items() if name not in UNSUPPORTED}
        return [
            *(f"{where}.{name}: is missing" for name in expected.keys() - ours.keys()),
            *(f"{where}.{name}: is too much" for name in ours.keys() - expected.keys()),
            *(
                found
                for name, value in expected.items()
                if name in ours
                for found in self.differences(value, ours[name], f"{where}.{name}")
            ),
        ]

    def _texts(self, theirs: str, ours: str) -> bool:
        if _ID.fullmatch(theirs):
            return bool(_ID.fullmatch(ours)) and self.pair(theirs, ours)
        if ("://" in theirs or theirs.startswith("/api/")) and theirs != ours:
            return self._addresses(theirs, ours)
        for made_up in (_DATE, _NUMBER):
            if made_up.match(theirs):
                return bool(made_up.match(ours))
        return theirs == ours

    def _addresses(self, theirs: str, ours: str) -> bool:
        """The same path, with mapped identifiers, and the same names in the query."""
        their, our = urlsplit(theirs), urlsplit(ours)
        their_ids, our_ids = _ID.findall(their.path), _ID.findall(our.path)
        return (
            _ID.sub("ID", their.path) == _ID.sub("ID", our.path)
            and len(their_ids) == len(our_ids)
            and all(self.pair(*ids) for ids in zip(their_ids, our_ids, strict=True))
            and set(parse_qs(their.query)) == set(parse_qs(our.query))
        )
