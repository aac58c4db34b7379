"""Where the files are that travel with dcctl: playbooks, templates, drills, the lab's parts, inventories."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PACKAGED = _PACKAGE / "_data"


def _folder(name: str) -> Path:
    """From the wheel when dcctl was installed from one, else from the checkout it runs in."""
    packaged = _PACKAGED / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def playbooks() -> Path:
    return _folder("playbooks")


def templates() -> Path:
    return _folder("templates")


def drills() -> Path:
    return _folder("drills")


def lab() -> Path:
    return _folder("lab")


def inventories() -> Path:
    return _folder("inventories")


def requirements() -> Path:
    """The hash-locked requirements of what runs on machines."""
    return _folder("requirements")


def procurement() -> Path:
    """The application's own distribution."""
    return _folder("procurement")


def package() -> Path:
    """dcctl's own modules."""
    return _PACKAGE


def is_packaged(path: Path) -> bool:
    """Whether ``path`` lies among the installed files, where nothing may be written."""
    return path.resolve().is_relative_to(_PACKAGED)
