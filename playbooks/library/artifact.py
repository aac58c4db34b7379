#!/usr/bin/python3
"""An application's artifact: unpacked beside the previous one."""

import json
import os
import platform
import shutil
import sys
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: artifact
short_description: An application's artifact, unpacked beside the previous one
description:
  - Makes C(current) a link to it, in one move, and forgets all but the one before.
  - An artifact that is not there is unpacked from I(archive); without one it says where to put it.
options:
  name:
    description: Of the application.
    type: str
    required: true
  digest:
    description: Of the artifact.
    type: str
    required: true
  root:
    description: Where artifacts lie.
    type: path
    default: /opt/dcctl
  archive:
    description: A file on the machine; it is removed.
    type: path
  sync:
    description: Have it on the disk before it is taken into use, unless the machine is a container.
    type: bool
    default: true
author: dcctl
"""

RETURN = """
present:
  description: Whether it is there, unpacked and whole.
  type: bool
  returned: always
archive:
  description: Where the archive is to be put.
  type: str
  returned: always
written:
  description: What changed.
  type: list
  elements: str
  returned: always
"""


def main():
    """Look, unpack, or take into use."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "digest": {"type": "str", "required": True},
            "root": {"type": "path", "default": "/opt/dcctl"},
            "archive": {"type": "path"},
            "sync": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    home = Path(module.params["root"]) / module.params["name"]
    folder = home / module.params["digest"]
    written = []
    try:
        if not module.check_mode:
            home.mkdir(parents=True, exist_ok=True)
        if module.params["archive"] and not folder.exists():
            unpack(module, Path(module.params["archive"]), folder)
            written.append(str(folder))
        present = folder.exists()
        if target(home) != folder.name and (present or module.check_mode):
            if not module.check_mode:
                use(home, folder)
            written.append(str(home / "current"))
    except (OSError, tarfile.TarError) as error:
        module.fail_json(msg=f"{folder}: {error}")
    module.exit_json(
        changed=bool(written), written=written, present=present, archive=str(home / "arriving.tar.gz")
    )


def unpack(module, archive, folder):
    """Unpack beside, make it durable, and rename: a folder of that name is whole."""
    beside = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True, mode=0o755)
    with tarfile.open(archive) as packed:
        packed.extractall(beside)  # noqa: S202  # built by the operator who is root here
    about = json.loads((beside / "artifact.json").read_text())
    own = (f"{sys.version_info[0]}.{sys.version_info[1]}", platform.machine())
    if own != (about["python"], about["machine"]):
        shutil.rmtree(beside)
        module.fail_json(
            msg=f"the artifact is for Python {about['python']} on {about['machine']},"
            f" this machine has Python {own[0]} on {own[1]}"
        )
    beside.chmod(0o755)
    if not any(beside.glob("lib/*/site-packages/__pycache__")):
        module.run_command(
            [
                *(sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"),
                *("-s", str(beside), "-p", str(folder), str(beside / "lib")),
            ]
        )
    # A name means that it is whole, after a power cut too. A container's disk is its host's to sync.
    if module.params["sync"] and not Path("/run/systemd/container").exists():
        os.sync()
    beside.replace(folder)
    archive.unlink()


def target(home):
    """The digest that is in use; nothing where none is."""
    link = home / "current"
    return link.readlink().name if link.is_symlink() else ""


def use(home, folder):
    """Make it the current one; of the others the one that was current stays."""
    before = target(home)
    beside = home / "current.dcctl"
    beside.unlink(missing_ok=True)
    beside.symlink_to(folder.name)
    beside.replace(home / "current")
    for other in home.iterdir():
        if other.is_dir() and not other.is_symlink() and other.name not in (folder.name, before):
            shutil.rmtree(other)


if __name__ == "__main__":
    main()
