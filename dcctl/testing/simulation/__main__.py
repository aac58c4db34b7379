"""``python -m dcctl.testing.simulation``: many seeds, or one schedule again."""

import argparse
import gc
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

from dcctl.testing.simulation import Result, Schedule, decide_schedule, shrink, simulate
from dcctl.testing.simulation.broken import CATALOGUE, Broken

BY_NAME = {each.name: each for each in CATALOGUE}
BATCH = 25


def run(schedule: Schedule, broken: Broken | None = None) -> Result:
    """One simulation, of ours or of a broken variant."""
    with broken.composed() if broken else nullcontext() as variant:
        return simulate(schedule, variant)


def schedule_of(seed: int, broken: Broken | None = None) -> Schedule:
    """A seed's schedule; a broken variant has its own."""
    return broken.schedule(seed) if broken else decide_schedule(seed)


def failing(seeds: Iterable[int], broken: Broken | None = None) -> list[int]:
    """The seeds whose schedules breach a promise."""
    collects = gc.isenabled()
    gc.disable()  # a world is a knot of cycles, and nothing of it ends before the whole of it does
    gc.freeze()  # what was there before is not looked through after every seed
    found = []
    try:
        for seed in seeds:
            if run(schedule_of(seed, broken), broken).breaches:
                found.append(seed)
            gc.collect()
    finally:
        gc.unfreeze()
        if collects:
            gc.enable()
    return found


def first_failing(seeds: Iterable[int], broken: Broken) -> int | None:
    """The first seed that shows what is wrong with ``broken``; None when none does."""
    order = (broken.shown_by, *seeds)
    return next((seed for seed in order if run(broken.schedule(seed), broken).breaches), None)


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    broken = BY_NAME[options.broken] if options.broken else None
    if options.replay:
        result = run(Schedule.from_json(Path(options.replay).read_text()), broken)
        _show(result)
        return 1 if result.breaches else 0
    began_s = time.monotonic()
    found: list[int] = []
    done = 0
    for batch in _batches(options, broken):
        found += batch
        done = min(done + BATCH, options.seeds)
        rate = done / (time.monotonic() - began_s) * 60
        print(f"simulate: {done} of {options.seeds} seeds, {rate:.0f} a minute", file=sys.stderr, flush=True)
        if found and not options.keep_going:
            break
    for seed in found[:1]:
        schedule = shrink(schedule_of(seed, broken), lambda each: bool(run(each, broken).breaches))
        _show(run(schedule, broken))
        Path("build").mkdir(exist_ok=True)
        Path(f"build/simulation-{seed}.json").write_text(schedule.to_json() + "\n")
        again = f"python -m dcctl.testing.simulation --replay build/simulation-{seed}.json"
        print(f"again: {again}" + (f" --broken '{broken.name}'" if broken else ""))
    took_s = time.monotonic() - began_s
    summary = {
        "seeds": done,
        "first": options.first,
        "failed": found,
        "took_s": round(took_s, 1),
        "seeds_per_minute": round(done / took_s * 60),
    }
    print(json.dumps(summary))
    return 1 if found else 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dcctl.testing.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("--broken", choices=sorted(BY_NAME), help="a variant that is wrong on purpose")
    parser.add_argument("--replay", help="a schedule that was printed, as a file")
    parser.add_argument("--keep-going", action="store_true", help="go on after a seed that fails")
    return parser.parse_args(argv)


def _batches(options: argparse.Namespace, broken: Broken | None) -> Iterator[list[int]]:
    seeds = range(options.first, options.first + options.seeds)
    parts = [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]
    if options.jobs == 1:
        yield from (failing(part, broken) for part in parts)
        return
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        name = broken.name if broken else ""
        yield from pool.imap(_in_a_process, [(part, name) for part in parts])


def _in_a_process(work: tuple[range, str]) -> list[int]:
    seeds, name = work
    return failing(seeds, BY_NAME.get(name))


def _show(result: Result) -> None:
    print(f"schedule: {result.schedule.to_json()}")
    for at_s, sentence in result.history.timeline:
        print(f"{at_s:8.2f} s  {sentence}")
    for breach in result.breaches or ("nothing was breached",):
        print(f"==> {breach}")


if __name__ == "__main__":
    sys.exit(main())
