"""A machine runtime that only remembers: the same verbs and words as ``dcctl.lab.machine``, and no machine.

    python standin_machine.py FOLDER VERB [ID]

A file ``fail-VERB`` in the folder makes that verb fail with the sentence in it, ``slow-VERB`` makes it wait
until the file is gone.
"""

import fcntl
import json
import sys
import time
from pathlib import Path
from typing import Any

AFTER = {"boot": "running", "halt": "off", "shutdown": "off", "suspend": "suspended", "resume": "running"}


def main(folder: Path, verb: str, id: str = "") -> int:
    while (folder / f"slow-{verb}").exists():
        time.sleep(0.01)
    if (folder / f"fail-{verb}").exists():
        print((folder / f"fail-{verb}").read_text(), file=sys.stderr)
        return 4
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = folder / "machines.json"
        machines: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        if verb == "list":
            print(json.dumps([{"id": each, "state": seen["state"]} for each, seen in machines.items()]))
            return 0
        with (folder / "calls").open("a") as calls:
            calls.write(f"{verb} {id}\n" if id else f"{verb}\n")
        change(machines, verb, id)
        file.write_text(json.dumps(machines))
    return 0


def change(machines: dict[str, Any], verb: str, id: str) -> None:
    if verb == "define":
        spec = json.load(sys.stdin)
        machines.setdefault(spec["id"], {"state": "off"})["spec"] = spec
    elif verb == "delete":
        machines.pop(id, None)
    else:
        machines[id]["state"] = AFTER[verb]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
