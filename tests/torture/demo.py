"""Kill the demo with SIGKILL in three of its phases; the demo after each kill must succeed.

Run by ``make demo-torture``; not part of ``make test`` (about 20 minutes). Ends with the lab removed.
"""

import os
import signal
import subprocess
import sys
import time

DCCTL = [sys.executable, "-m", "dcctl.cli.main"]
KILLS = (("lab up", 6.0), ("provision apply", 3.0), ("drill run", 60.0))
"""In which phase, and how many seconds into it: in the last one the site is dark by then."""


def main() -> int:
    """Exit 0 when every demo that followed a kill succeeded."""
    try:
        for phase, after_s in KILLS:
            _kill_in(phase, after_s)
            began = time.monotonic()
            code = subprocess.run([*DCCTL, "demo"], check=False).returncode
            took_s = time.monotonic() - began
            print(f"torture: killed in `{phase}`; the next demo: exit {code}, {took_s:.0f} s")
            if code != 0:
                return 1
            subprocess.run([*DCCTL, "lab", "down"], check=True)
        print(f"{len(KILLS)} passed, 0 failed")
        return 0
    finally:
        subprocess.run([*DCCTL, "lab", "down"], check=False)


def _kill_in(phase: str, after_s: float) -> None:
    """Start a demo and kill its whole process group ``after_s`` seconds into ``phase``."""
    demo = subprocess.Popen([*DCCTL, "demo"], stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert demo.stderr is not None
    for line in demo.stderr:
        sys.stderr.write(line)
        if line.strip().startswith(f"$ dcctl {phase}"):
            time.sleep(after_s)  # the moment of the kill, not a wait for anything
            os.killpg(demo.pid, signal.SIGKILL)
            break
    demo.wait()
    if demo.returncode != -signal.SIGKILL:
        raise SystemExit(f"torture: the demo ended ({demo.returncode}) before the kill in `{phase}`")


if __name__ == "__main__":
    raise SystemExit(main())
