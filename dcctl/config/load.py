"""From the name of an environment to its configuration, or to every problem that it has."""

import os
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from dcctl import resources
from dcctl.config import rules, wording
from dcctl.config.document import Node, read, shown
from dcctl.config.schema import SITE_KINDS, Configuration
from dcctl.errors import ConfigurationError, Problem, UsageError

FILE = "dcctl.yaml"
INVENTORIES = Path("inventories")


def load(environment: str | None) -> Configuration:
    """The validated configuration of ``environment``: a name, a path, or None for ``./dcctl.yaml``.

    Raises UsageError when there is no such environment, ConfigurationError with every problem at once.
    """
    return load_file(find(environment))


def find(environment: str | None) -> Path:
    """The ``dcctl.yaml`` of ``environment``.

    A name is looked up under ``./inventories``, then among the inventories that travel with dcctl.
    Raises UsageError, which lists what was found instead.
    """
    if environment is None:
        if Path(FILE).is_file():
            return Path(FILE)
        raise UsageError(
            "find the environment",
            saw=f"no -e, and no {FILE} here" + _listed(),
            next_command="dcctl -e NAME and the command, or dcctl init to write a new environment",
        )
    given = Path(environment).expanduser()
    if given.suffix in {".yaml", ".yml"} and given.is_file():
        return given
    for path in (given / FILE, *(folder / given / FILE for folder in _folders())):
        if path.is_file():
            return path
    near = get_close_matches(environment, list(environments()), n=1)
    raise UsageError(
        "find the environment",
        on=environment,
        saw="there is none of that name or path" + _listed(),
        next_command=f"dcctl -e {near[0]} config check" if near else "dcctl init, to write a new environment",
    )


def environments() -> dict[str, Path]:
    """Every environment that a name finds, by name: this folder's first, then dcctl's own."""
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob(f"**/{FILE}")):
            found.setdefault(path.parent.relative_to(folder).as_posix(), path)
    return found


def _folders() -> tuple[Path, ...]:
    return INVENTORIES, resources.inventories()


def _listed() -> str:
    names = list(environments())
    return f"; environments found: {', '.join(names)}" if names else "; no environment was found"


def load_file(path: Path) -> Configuration:
    """The validated configuration in ``path``. Raises ConfigurationError with every problem at once."""
    root, problems = read(path)
    if root is None:
        raise _wrong(path, problems)
    directory = path.resolve().parent
    configuration, found = _validate(root, directory)
    if configuration is None or problems or found:
        raise _wrong(path, (*problems, *found))
    return configuration


def _validate(root: Node, directory: Path) -> tuple[Configuration | None, tuple[Problem, ...]]:
    document = with_kinds(root.plain())
    context = {"directory": directory, "state_base": state_base(directory, document)}
    found: list[Problem] = []
    configuration = None
    try:
        configuration = Configuration.model_validate(document, context=context)
    except ValidationError as error:
        found += wording.problems(error, root)
    found += rules.problems(root)
    return configuration, tuple(found)


def with_kinds(document: object) -> object:
    """``document`` with a kind for every site, by the keys it has where the kind is missing or wrong.

    So the rest of such a site is judged too; the kind itself is reported by the rules.
    """
    sites = document.get("sites") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(sites, dict):
        return document
    return document | {"sites": {name: _with_kind(site) for name, site in sites.items()}}


def _with_kind(site: object) -> object:
    if not isinstance(site, dict) or site.get("kind") in tuple(SITE_KINDS):
        return site
    return site | {
        "kind": max(SITE_KINDS, key=lambda kind: len(site.keys() & SITE_KINDS[kind].model_fields.keys()))
    }


def state_base(directory: Path, document: object) -> Path:
    """Where a relative state directory lies: beside the file, or under ``$XDG_STATE_HOME`` where nothing
    can be written beside it, as for an environment out of the installed package."""
    if not resources.is_packaged(directory) and os.access(directory, os.W_OK):
        return directory
    import platformdirs  # noqa: PLC0415  # needed for installed environments only

    name = document.get("environment") if isinstance(document, dict) else None
    return Path(platformdirs.user_state_path("dcctl")) / str(name or directory.name)


def _wrong(path: Path, problems: tuple[Problem, ...]) -> ConfigurationError:
    unique = sorted(
        dict.fromkeys(problems), key=lambda one: (one.file != shown(path), one.file, one.line, one.column)
    )
    return ConfigurationError(tuple(unique), next_command=f"$EDITOR {shown(path)}")
