"""A machine's disk: the golden image's layers below, what the machine wrote above; complete or not there."""

import json
import shutil
from pathlib import Path
from typing import Protocol

from dcctl.errors import NotFound
from dcctl.lab.paths import IMAGES

CURRENT = IMAGES / "current"
LAYERS = {"debian-12": ("stack", "base"), "debian-12-bare": ("base",)}
"""The layers of each image, uppermost first (lab/image/)."""


class Identity(Protocol):
    """What makes one machine different from its sisters before its first boot."""

    @property
    def id(self) -> str: ...
    @property
    def hostname(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def authorized_keys(self) -> tuple[str, ...]: ...
    @property
    def user_data(self) -> str: ...


def write_disk(folder: Path, identity: Identity, *, current: Path = CURRENT) -> None:
    """Make the disk if there is none. Raises NotFound when the image is not built."""
    if (folder / "upper").exists():
        return
    layers = _layers(identity.image, current)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "layers").write_text(layers)
    for name in ("work", "root"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "netns").touch()
    unfinished = folder / "upper.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    _write(unfinished / "etc/hostname", identity.hostname + "\n")
    _write(unfinished / "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {identity.hostname}\n")
    _write(unfinished / "etc/machine-id", identity.id.replace("-", "") + "\n")
    _write(unfinished / "etc/resolv.conf", "# The lab has no name service.\noptions timeout:1 attempts:1\n")
    _write_seed(unfinished / "var/lib/cloud/seed/nocloud", identity)
    unfinished.rename(folder / "upper")


def layers_of(folder: Path) -> str:
    """The lower directories that a disk was made over, as overlayfs wants them."""
    return (folder / "layers").read_text()


def _layers(image: str, current: Path) -> str:
    """By their real names: a golden image built later must not move under a disk that exists."""
    if image not in LAYERS or not current.exists():
        raise NotFound("find the image", on=image, saw="not built", next_command="dcctl lab up")
    return ":".join(str(current.resolve() / layer) for layer in LAYERS[image])


def _write_seed(seed: Path, identity: Identity) -> None:
    """cloud-init's NoCloud source (cloudinit.readthedocs.io, datasource NoCloud); JSON is YAML."""
    meta_data = {
        "instance-id": identity.id,
        "local-hostname": identity.hostname,
        "public-keys": list(identity.authorized_keys),
    }
    _write(seed / "meta-data", json.dumps(meta_data), mode=0o600)
    _write(seed / "user-data", identity.user_data or "#cloud-config\n{}\n", mode=0o600)


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """The folders above get the image's own mode, whatever the caller's umask."""
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)
    path.touch()
    path.chmod(mode)
    path.write_text(text)
