"""The applications that are sent to machines, and what each is made of."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcctl import resources
from dcctl.config.on_machines import machines_configuration
from dcctl.config.schema import Configuration
from dcctl.domain.artifact import Platform, Recipe, Source
from dcctl.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from dcctl.adapters.artifact import PipArtifacts

LEFT_OUT = ("_data", "lab", "testing", "__pycache__")
"""Of dcctl's own modules: what a machine has no use for."""


def artifacts(configuration: Configuration) -> "PipArtifacts":
    """Built in the environment's artifact directory, with pip of this very Python."""
    from dcctl.adapters.artifact import PipArtifacts
    from dcctl.network_namespace import outside

    prefix, descriptors = outside()
    return PipArtifacts(
        configuration.artifacts,
        recipes(),
        platform=Platform(),
        pip=(*prefix, sys.executable, "-m", "pip"),
        pass_fds=descriptors,
    )


def variables(configuration: Configuration) -> dict[str, Any]:
    """What playbooks are told beside the machines: the artifacts, and what roles configure by."""
    return {
        "dcctl_artifacts": {
            name: {"digest": each.digest, "file": each.file}
            for name, each in artifacts(configuration).describe().items()
        },
        "dcctl_swift": _swift(configuration),
        "dcctl_on_machines": machines_configuration(configuration),
    }


def _swift(configuration: Configuration) -> dict[str, Any]:
    """The section, with authorities' certificates themselves: a machine has none of the operator's files.

    Raises ConfigurationError for one that cannot be read.
    """
    swift = configuration.swift
    found = swift.model_dump(mode="json") | {"reclaim_age_s": int(swift.reclaim_age.total_seconds())}
    for site, keystone in swift.keystone.items():
        try:
            found["keystone"][site]["ca"] = keystone.ca_file.read_text("utf-8") if keystone.ca_file else ""
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError((Problem(str(keystone.ca_file), 0, 0, str(error)),)) from error
    return found


def recipes() -> tuple[Recipe, ...]:
    """Swift, the application, and the part of dcctl that runs on machines."""
    return (
        Recipe("swift", _lock("swift"), sources=tuple(_swift_filters()), commands_of=("swift",)),
        Recipe(
            "procurement",
            _lock("procurement"),
            sources=tuple(_files(resources.procurement() / "procurement", "procurement")),
            commands=(("procurement", "procurement.cli:main"),),
        ),
        Recipe(
            "dcctl",
            _lock("agent"),
            sources=tuple(_files(resources.package(), "dcctl")),
            commands=(("dcctl", "dcctl.cli.main:main"),),
        ),
    )


def _lock(name: str) -> str:
    return (resources.requirements() / f"{name}.txt").read_text(encoding="utf-8")


def _swift_filters() -> Iterator[Source]:
    for path in sorted((resources.templates() / "swift").glob("*.py")):
        yield Source(path.name, path.read_bytes())


def _files(folder: Path, package: str) -> Iterator[Source]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and parts[0] not in LEFT_OUT and "__pycache__" not in parts:
            yield Source("/".join((package, *parts)), path.read_bytes())
