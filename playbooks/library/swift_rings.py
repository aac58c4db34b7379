#!/usr/bin/python3
"""The rings of a site's Swift cluster: made on one machine, the same on all."""

import base64
import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: swift_rings
short_description: The rings of a site's Swift cluster
description:
  - Without I(rings) it makes them of I(devices), from the builders it kept the last time.
  - With I(rings) it writes those that another machine made.
options:
  folder:
    description: Where rings and builders lie.
    type: path
    default: /etc/swift
  python:
    description: A Python that has Swift.
    type: path
    required: true
  devices:
    description: By ring, a list of devices with ip, port, device, zone and weight.
    type: dict
    default: {}
  part_power:
    description: The rings have 2 ** part_power partitions; never changes.
    type: int
    default: 10
  replicas:
    description: Copies of everything.
    type: int
    default: 1
  rings:
    description: By ring, its file in base64.
    type: dict
author: dcctl
"""

RETURN = """
rings:
  description: By ring, its file in base64.
  type: dict
  returned: always
written:
  description: The rings that changed.
  type: list
  elements: str
  returned: always
"""

# With the same devices a rebalance moves nothing, so rings change only when what they are made of does.
BUILD = """
import json, os, sys
from swift.common.ring import RingBuilder
given = json.load(sys.stdin)
changed = []
for name, devices in sorted(given["devices"].items()):
    path = os.path.join(given["folder"], name)
    wanted = {(d["ip"], d["port"], d["device"]): d for d in devices}
    if os.path.exists(path + ".builder"):
        builder = RingBuilder.load(path + ".builder")
        if builder.part_power != given["part_power"]:
            sys.exit(f"{name}: part_power {builder.part_power} would become {given['part_power']};"
                     " a cluster keeps its number for life")
    else:
        builder = RingBuilder(given["part_power"], given["replicas"], 1)
    have = {(d["ip"], d["port"], d["device"]): d for d in builder.devs if d}
    dirty = not os.path.exists(path + ".ring.gz")
    for key, device in sorted(wanted.items()):
        if key not in have:
            builder.add_dev(dict(device, region=1))
            dirty = True
        elif have[key]["weight"] != device["weight"]:
            builder.set_dev_weight(have[key]["id"], device["weight"])
            dirty = True
    for key in sorted(have.keys() - wanted.keys()):
        builder.remove_dev(have[key]["id"])
        dirty = True
    if builder.replicas != given["replicas"]:
        builder.set_replicas(given["replicas"])
        dirty = True
    if dirty:
        changed.append(name)
        if not given["check"]:
            builder.pretend_min_part_hours_passed()
            builder.rebalance(seed="dcctl")
            builder.save(path + ".builder")
            builder.get_ring().save(path + ".ring.gz")
json.dump(changed, sys.stdout)
"""


def main():
    """Make or write, and report."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "default": "/etc/swift"},
            "python": {"type": "path", "required": True},
            "devices": {"type": "dict", "default": {}},
            "part_power": {"type": "int", "default": 10},
            "replicas": {"type": "int", "default": 1},
            "rings": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    folder = Path(module.params["folder"])
    written = write(module, folder) if module.params["rings"] else build(module)
    files = sorted(folder.glob("*.ring.gz"))
    rings = {path.name.split(".")[0]: base64.b64encode(path.read_bytes()).decode() for path in files}
    module.exit_json(changed=bool(written), written=written, rings=rings)


def build(module):
    """The rings that changed."""
    given = {name: module.params[name] for name in ("folder", "devices", "part_power", "replicas")}
    code, out, err = module.run_command(
        [module.params["python"], "-W", "ignore", "-c", BUILD],
        data=json.dumps({**given, "check": module.check_mode}),
    )
    if code != 0:
        module.fail_json(msg=(err or out).strip().splitlines()[-1])
    return json.loads(out)


def write(module, folder):
    """Those of another machine, in one move each."""
    written = []
    for name, text in sorted(module.params["rings"].items()):
        path, content = folder / f"{name}.ring.gz", base64.b64decode(text)
        if path.exists() and path.read_bytes() == content:
            continue
        written.append(name)
        if not module.check_mode:
            new = Path(module.tmpdir) / path.name
            new.write_bytes(content)
            new.chmod(0o644)
            module.atomic_move(str(new), str(path))
    return written


if __name__ == "__main__":
    main()
