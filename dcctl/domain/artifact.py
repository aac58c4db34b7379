"""Applications as they come to a machine: a folder of Python packages, named by what it was made of. Pure.

The name is a digest of the hash-locked requirements, of our own code in it, and of what it runs on. So two
operators who build the same thing call it the same, and a machine that has it is sent nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

FORM = 3
"""Of the archive; a change of what ``adapters.artifact`` makes of the same input needs another number."""

ROOT = "/opt/dcctl"
"""Where artifacts lie on a machine: ``ROOT/<name>/<digest>``, and ``ROOT/<name>/current``."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What an artifact runs on. Debian 12 is Python 3.11 and glibc 2.36 (packages.debian.org)."""

    python: str = "3.11"
    machine: str = "x86_64"
    glibc_minor: int = 36

    @property
    def wheel_tags(self) -> tuple[str, ...]:
        """Platform tags of wheels that run on it, the newest first (PEP 600)."""
        newest_first = range(self.glibc_minor, 16, -1)
        return (
            *(f"manylinux_2_{minor}_{self.machine}" for minor in newest_first),
            f"manylinux2014_{self.machine}",
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A file of our own code: where it goes among the packages, and what is in it."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an artifact is made of.

    ``lock`` is a requirements file with hashes. ``commands`` are programs (``module:function`` by name),
    ``commands_of`` the distributions whose own programs are wanted.
    """

    name: str
    lock: str
    sources: tuple[Source, ...] = ()
    commands: tuple[tuple[str, str], ...] = ()
    commands_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifact:
    """A recipe's result: its name, its digest, and the file that holds, or will hold, it."""

    name: str
    digest: str
    file: str


BY_ROLE: Mapping[str, tuple[str, ...]] = {
    "swift": ("swift",),
    "procurement": ("procurement", "dcctl"),
    "replication": ("dcctl",),
    "agent": ("dcctl",),
}
"""The artifacts that each role's machines run."""


def decide_artifacts(roles: Iterable[str]) -> tuple[str, ...]:
    """The artifacts that these roles need, each once."""
    return tuple(dict.fromkeys(name for role in roles for name in BY_ROLE.get(role, ())))


def decide_digest(recipe: Recipe, platform: Platform) -> str:
    """16 hex digits that change with anything that would change the artifact."""
    digest = hashlib.sha256()
    parts: list[Sequence[str | bytes]] = [
        (str(FORM), recipe.name, platform.python, platform.machine, str(platform.glibc_minor)),
        requirements(recipe.lock),
        [part for command in recipe.commands for part in command],
        recipe.commands_of,
        [part for source in recipe.sources for part in (source.path, source.content)],
    ]
    for group in parts:
        digest.update(f"{len(group)};".encode())
        for part in group:
            text = part.encode() if isinstance(part, str) else part
            digest.update(f"{len(text)}:".encode() + text)
    return digest.hexdigest()[:16]


def requirements(lock: str) -> tuple[str, ...]:
    """The lines of a lock that say something: its comments do not change what is installed."""
    lines = (line.split(" #")[0].strip() for line in lock.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def program(digest_folder: str, module: str, function: str) -> str:
    """A program of the artifact that will lie in ``digest_folder``."""
    return (
        f"#!{digest_folder}/bin/python\n"
        "import sys\n"
        f"from {module} import {function.partition('.')[0]}\n"
        f'if __name__ == "__main__":\n    sys.exit({function}())\n'
    )
