"""How long the prompt takes: ``dcctl --help``, and ``dcctl status`` on the lab that is up, whole processes.

Run by ``make bench-prompt`` on a quiet host with the lab up; prints a Markdown table for docs/benchmarks.md.
"""

import os
import statistics
import subprocess
import sys
import time

RUNS = int(os.environ.get("RUNS", "7"))
CASES = (
    ("`dcctl --help`", ("--help",)),
    ("`dcctl status`", ("status",)),
    ("`dcctl status -o json`", ("status", "-o", "json")),
)


def main() -> None:
    """One warm-up, then ``RUNS`` counted runs of each case in turn."""
    print(f"| command | median of {RUNS} | shortest | longest |\n|---|---|---|---|")
    for title, arguments in CASES:
        _took_s(arguments)
        took_s = sorted(_took_s(arguments) for _ in range(RUNS))
        print(f"| {title} | {statistics.median(took_s):.2f} s | {took_s[0]:.2f} s | {took_s[-1]:.2f} s |")


def _took_s(arguments: tuple[str, ...]) -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "dcctl.cli.main", *arguments], stdout=subprocess.DEVNULL, check=True
    )
    return time.monotonic() - began


if __name__ == "__main__":
    main()
