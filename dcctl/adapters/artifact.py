"""``ports.Artifacts`` with pip and tar: virtual environments for machines, made on the operator's side.

Only wheels are taken, for the machines' platform, so what the operator runs on does not matter. The archive
is complete: a machine needs no package index and no compiler.
"""

import fcntl
import json
import os
import selectors
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from configparser import ConfigParser
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dcctl.domain.artifact import ROOT, Artifact, Platform, Recipe, decide_digest, program
from dcctl.errors import Interrupted, Rejected, TimedOut, Unreachable

ASK_S = 0.2
KEPT = 6
"""Archives of one name that stay in the cache: the way back of more than one environment."""

LEFT_OUT = ("**/tests", "**/*.pyx", "**/*.pxd", "**/*.c", "**/*.h")
"""Of packages: what nobody runs, a fifth of all files."""


class PipArtifacts:
    """Archives in ``folder``, made once per digest. ``pip`` is the command line that starts pip."""

    def __init__(
        self,
        folder: Path,
        recipes: Sequence[Recipe],
        *,
        platform: Platform,
        pip: Sequence[str],
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._folder = folder
        self._recipes = {recipe.name: recipe for recipe in recipes}
        self._platform = platform
        self._pip = tuple(pip)
        self._pass_fds = tuple(pass_fds)

    def describe(self) -> Mapping[str, Artifact]:
        """All of them by name, whether made already or not."""
        found = {}
        for name, recipe in self._recipes.items():
            digest = decide_digest(recipe, self._platform)
            found[name] = Artifact(name, digest, str(self._folder / f"{name}-{digest}.tar.gz"))
        return found

    def ensure(
        self,
        names: Sequence[str],
        *,
        limit_s: float,
        seen: Callable[[str, str], None],
        asked_to_end: Callable[[], bool],
    ) -> tuple[Artifact, ...]:
        """Make those that are missing and return all of them; ``seen`` is told name and progress."""
        ends = time.monotonic() + limit_s
        described = self.describe()
        wanted = tuple(described[name] for name in names)
        for artifact in wanted:
            file = Path(artifact.file)
            if file.exists():
                os.utime(file)
                continue
            building = _Building(ends, asked_to_end, partial(seen, artifact.name))
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(self._folder / f"{artifact.name}.lock", building):
                if not file.exists():
                    self._make(artifact, building)
            self._forget(artifact)
        return wanted

    def _make(self, artifact: Artifact, building: "_Building") -> None:
        with tempfile.TemporaryDirectory(prefix=f".{artifact.name}-", dir=self._folder) as made:
            tree = Path(made) / "tree"
            packages = tree / "lib" / f"python{self._platform.python}" / "site-packages"
            packages.mkdir(parents=True)
            recipe = self._recipes[artifact.name]
            self._install(recipe, packages, Path(made), building)
            _lay_out(recipe, artifact, tree, packages, self._platform)
            building.tell("compiling")
            _compile(packages, self._platform)
            building.tell("packing")
            archive = Path(made) / "archive"
            _pack(tree, archive)
            archive.replace(artifact.file)

    def _install(self, recipe: Recipe, packages: Path, work: Path, building: "_Building") -> None:
        """Everything the lock names, and nothing else, into ``packages``."""
        lock = work / "lock.txt"
        lock.write_text(recipe.lock, encoding="utf-8")
        tags = [part for tag in self._platform.wheel_tags for part in ("--platform", tag)]
        argv = [
            *self._pip,
            *("install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"),
            *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile"),
            *("--implementation", "cp", "--python-version", self._platform.python, *tags),
            *("--target", str(packages), "--requirement", str(lock)),
        ]
        building.run(argv, on=recipe.name, pass_fds=self._pass_fds)
        for name in ("bin", *LEFT_OUT):
            for path in list(packages.glob(name)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _forget(self, artifact: Artifact) -> None:
        """Remove the archives of this name that were not used for longest."""
        files = sorted(
            self._folder.glob(f"{artifact.name}-*.tar.gz"),
            key=lambda file: file.stat().st_mtime,
            reverse=True,
        )
        for file in files[KEPT:]:
            file.unlink(missing_ok=True)


class _Building:
    """One build: when it must have ended, who may end it, and who is told."""

    def __init__(self, ends: float, asked_to_end: Callable[[], bool], tell: Callable[[str], None]) -> None:
        self._ends = ends
        self._asked_to_end = asked_to_end
        self.tell = tell

    def check(self, on: str) -> None:
        """Raises Interrupted or TimedOut when it must not go on."""
        if self._asked_to_end():
            raise Interrupted("build the artifact", on=on)
        if time.monotonic() >= self._ends:
            raise TimedOut("build the artifact", on=on, saw="it was not done within its limit")

    def run(self, argv: Sequence[str], *, on: str, pass_fds: Sequence[int]) -> None:
        """Run pip, telling what it does. Raises Unreachable where there is none, Rejected when it fails."""
        said: list[str] = []
        with subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
        ) as process:
            try:
                for line in self._lines(process, on):
                    said = [*said[-20:], line]
                    if line.startswith(("Collecting ", "Downloading ", "Installing ")):
                        self.tell(line[:100])
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            text = "; ".join(line for line in said if line.startswith("ERROR")) or "; ".join(said[-3:])
            if "No module named pip" in text:
                raise Unreachable(
                    "build the artifact",
                    on=on,
                    saw="this Python has no pip",
                    next_command=f"{sys.executable} -m ensurepip",
                )
            raise Rejected("build the artifact", on=on, saw=f"pip: {text[-600:]}")

    def _lines(self, process: "subprocess.Popen[bytes]", on: str) -> Iterator[str]:
        """What a process prints, line by line, for as long as it may go on."""
        if process.stdout is None:
            return
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                self.check(on)
                if not selector.select(ASK_S):
                    continue
                if not (read := os.read(process.stdout.fileno(), 65536)):
                    break
                *lines, rest = (rest + read).split(b"\n")
                yield from (line.decode(errors="replace").strip() for line in lines)
        yield rest.decode(errors="replace").strip()


def _lay_out(recipe: Recipe, artifact: Artifact, tree: Path, packages: Path, platform: Platform) -> None:
    """Make a virtual environment of it: our code, the programs, and what Python looks for (PEP 405)."""
    for source in recipe.sources:
        path = packages / source.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.content)
    programs = tree / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(f"/usr/bin/python{platform.python}")
    folder = f"{ROOT}/{artifact.name}/{artifact.digest}"
    commands = [
        *recipe.commands,
        *(each for name in recipe.commands_of for each in _commands(packages, name)),
    ]
    for name, target in commands:
        path = programs / name
        path.write_text(program(folder, *target.split(":")), encoding="utf-8")
        path.chmod(0o755)
    (tree / "pyvenv.cfg").write_text(
        "home = /usr/bin\ninclude-system-site-packages = false\n", encoding="utf-8"
    )
    about = {
        "name": artifact.name,
        "digest": artifact.digest,
        "python": platform.python,
        "machine": platform.machine,
    }
    (tree / "artifact.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


def _commands(packages: Path, distribution: str) -> Iterator[tuple[str, str]]:
    """The programs that an installed distribution declares (packaging.python.org, "Entry points")."""
    for file in packages.glob(f"{distribution}-*.dist-info/entry_points.txt"):
        parser = ConfigParser(delimiters=("=",), interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
        parser.read_string(file.read_text(encoding="utf-8"))
        if parser.has_section("console_scripts"):
            yield from parser.items("console_scripts")


def _compile(packages: Path, platform: Platform) -> None:
    """Bytecode for all of it, where a Python of the machines' version is at hand; else machines make it.

    It is not checked against the source again (PEP 552): nothing in an artifact ever changes.
    """
    python = shutil.which(f"python{platform.python}")
    if python is None:
        return
    argv = [python, "-I", "-W", "ignore", "-m", "compileall", "-q", "-j", "2"]
    argv += ["--invalidation-mode", "unchecked-hash", "-s", str(packages), str(packages)]
    subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _pack(tree: Path, archive: Path) -> None:
    def owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mode = (member.mode | 0o444 | (0o111 if member.isdir() else 0)) & 0o755
        return member

    with tarfile.open(archive, "w:gz", compresslevel=3) as packed:
        for name in sorted(path.name for path in tree.iterdir()):
            packed.add(tree / name, name, filter=owned_by_root)


@contextmanager
def _locked(path: Path, building: _Building) -> Iterator[None]:
    """Alone with this name: another deploy may be building the same."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                building.check(path.stem)
                building.tell("waiting for another deploy that builds it")
                time.sleep(ASK_S)
            else:
                break
        yield
