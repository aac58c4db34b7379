"""The applications that are sent to machines, and what each is made of."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcctl import resources
from dcctl.config.on_machines import authority_file, machines_configuration, replication_owners
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
        "dcctl_replication": replication_variables(configuration),
    }


def replication_variables(configuration: Configuration) -> dict[str, Any]:
    """What replicators read beside the configuration: authorities' certificates by where they are there, and
    the names of further secrets. Raises ConfigurationError for a file that cannot be read."""
    settings = configuration.replication
    if settings is None:
        return {"authorities": [], "owners": []}
    return {
        "authorities": [
            {"path": authority_file(site), "content": _authority(store.ca_file)}
            for site, store in sorted(settings.stores.items())
            if store.ca_file is not None
        ],
        "owners": sorted(replication_owners(settings)),
    }


def _swift(configuration: Configuration) -> dict[str, Any]:
    """The section, with authorities' certificates themselves: a machine has none of the operator's files.

    Raises ConfigurationError for one that cannot be read.
    """
    swift = configuration.swift
    found = swift.model_dump(mode="json") | {"reclaim_age_s": int(swift.reclaim_age.total_seconds())}
    for site, keystone in swift.keystone.items():
        found["keystone"][site]["ca"] = _authority(keystone.ca_file) if keystone.ca_file else ""
    return found


def _authority(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError((Problem(str(file), 0, 0, str(error)),)) from error


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
