"""``ports.Accepted``: copies of playbooks, inventory and variables, in the environment's state directory.

What a deploy is made of is small: playbooks, the inventory with what it says of each machine, and the
folders of variables. A copy is named by what is in it, so that deploying the same again keeps nothing twice.
Artifacts are not copied: a machine keeps the one before the current one. Secrets are not either: going back
takes those of now.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dcctl.domain.deploy import Deployment, Target
from dcctl.errors import Unreachable
from dcctl.ports import Acceptance, Earlier, Playbooks

VARIABLES = ("group_vars", "host_vars")
LEFT_OUT = ("__pycache__",)


class AcceptedCopies:
    """Copies in ``folder``. What is configured now is ``playbooks`` with ``inventory`` and ``variables``.

    ``prepared`` makes a copy, which is a folder with an inventory, ready to be applied and examined.
    """

    def __init__(
        self,
        folder: Path,
        targets: Sequence[Target],
        *,
        playbooks: Path,
        inventory: Mapping[str, Any],
        variables: Path,
        prepared: Callable[[Path, Mapping[str, Any]], tuple[Playbooks, Acceptance]],
    ) -> None:
        self._folder = folder
        self._targets = targets
        self._playbooks = playbooks
        self._inventory = inventory
        self._variables = variables
        self._prepared = prepared

    def keep(self, deployment: Deployment) -> None:
        """Raises Unreachable when it cannot be written."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = self._copy()
            kept = self._manifest()
            for machine, roles in self._carried(deployment).items():
                kept.setdefault(machine, {}).update(dict.fromkeys(roles, name))
            self._write(kept)
            used = {each for roles in kept.values() for each in roles.values()}
            for path in self._folder.iterdir():
                if path.is_dir() and path.name not in used:
                    shutil.rmtree(path)
        except OSError as error:
            raise self._unusable("remember what was accepted", error) from error

    def earlier(self, deployment: Deployment) -> tuple[Earlier, ...]:
        """Raises Unreachable when what was kept cannot be read."""
        kept, carried = self._manifest(), self._carried(deployment)
        parts: dict[str, dict[str, list[str]]] = {}
        for machine, roles in carried.items():
            for role in roles:
                name = kept.get(machine, {}).get(role)
                if name is None or not (self._folder / name).is_dir():
                    return ()
                parts.setdefault(name, {}).setdefault(machine, []).append(role)
        return tuple(
            self._earlier(name, Deployment(tuple(roles), tuple(machines), whole=False))
            for name, of in parts.items()
            for roles, machines in _together(of, carried).items()
        )

    def _earlier(self, name: str, deployment: Deployment) -> Earlier:
        copy = self._folder / name
        try:
            inventory = json.loads((copy / "inventory.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._unusable("read what was accepted", error) from error
        playbooks, acceptance = self._prepared(copy, inventory)
        return Earlier(deployment, playbooks, acceptance)

    def _carried(self, deployment: Deployment) -> dict[str, list[str]]:
        return {
            target.name: [role for role in deployment.roles if role in target.roles]
            for target in self._targets
            if target.name in deployment.machines
        }

    def _copy(self) -> str:
        """A copy of what is configured now, by its name; made beside and moved, so that it is whole."""
        inventory = json.dumps(self._inventory, indent=1, sort_keys=True)
        sources = {"playbooks": self._playbooks}
        sources |= {name: self._variables / name for name in VARIABLES if (self._variables / name).is_dir()}
        name = _digest(inventory, sources)
        if not (self._folder / name).is_dir():
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".new-") as made:
                new = Path(made) / name
                for part, source in sources.items():
                    shutil.copytree(source, new / part, ignore=shutil.ignore_patterns(*LEFT_OUT))
                (new / "inventory.json").write_text(inventory, encoding="utf-8")
                new.replace(self._folder / name)
        return name

    def _manifest(self) -> dict[str, dict[str, str]]:
        """By machine and role, the name of the copy; what cannot be understood is as if never kept."""
        try:
            found = json.loads((self._folder / "accepted.json").read_text(encoding="utf-8"))
            return {
                str(machine): {str(role): str(name) for role, name in roles.items()}
                for machine, roles in found.items()
            }
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError):
            return {}
        except OSError as error:
            raise self._unusable("read what was accepted", error) from error

    def _write(self, kept: Mapping[str, Mapping[str, str]]) -> None:
        path = self._folder / "accepted.json"
        new = path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(kept, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def _unusable(self, tried: str, error: Exception) -> Unreachable:
        saw = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Unreachable(tried, on=str(self._folder), saw=saw)


def _together(
    of: Mapping[str, Sequence[str]], carried: Mapping[str, Sequence[str]]
) -> dict[tuple[str, ...], list[str]]:
    """Roles with the machines that they are applied to: usually all at once, which is quickest.

    Applied at once, each machine gets every role of them that it carries; one that has a role from another
    copy must not, and then machines are taken apart.
    """
    every = tuple(dict.fromkeys(role for roles in of.values() for role in roles))
    if all(set(carried[machine]) & set(every) == set(roles) for machine, roles in of.items()):
        return {every: list(of)}
    found: dict[tuple[str, ...], list[str]] = {}
    for machine, roles in of.items():
        found.setdefault(tuple(roles), []).append(machine)
    return found


def _digest(inventory: str, sources: Mapping[str, Path]) -> str:
    digest = hashlib.sha256(inventory.encode())
    for part, source in sorted(sources.items()):
        for path in sorted(source.rglob("*")):
            relative = path.relative_to(source)
            if path.is_file() and not set(relative.parts) & set(LEFT_OUT):
                digest.update(f"{part}/{relative}:{path.stat().st_size}:{path.stat().st_mode}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
