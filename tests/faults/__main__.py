"""The long version: `make faults`. Prints a line a chain, and ends with exit code 1 where one is not its twin."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.pool import ThreadPool
from pathlib import Path

from faults.chains import HEADER, Driver, Outcome, Trials
from faults.disk import MEBIBYTE, full_disk, small_file_system
from faults.driver import FIRST_MOMENTS, LAST_MOMENTS, PHASES, STEPS_AND_COMMITS
from faults.settings import SETTINGS, Setting

RANDOM_KILLS = 3
"""Of each setting's forked runs."""
REAL_KILLS = 2
"""Of each of `REAL`, whose runs are interpreters of their own."""
REAL = ("everything", "workers")
FLIPS = 5
FLIPPED = ("everything", "batch_norm", "convolutions", "regression")
DISK_SHARES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
FULL = ("everything",)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the order of the kills and their moments")
    parser.add_argument("--only", choices=[setting.name for setting in SETTINGS], nargs="*")
    arguments = parser.parse_args()
    settings = [setting for setting in SETTINGS if not arguments.only or setting.name in arguments.only]
    began = time.monotonic()
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory(prefix="faults-") as place, ThreadPool(2) as pool:
        jobs = [(setting, Path(place), arguments.seed) for setting in settings]
        outcomes = [outcome for some in pool.starmap(_all_of, jobs, chunksize=1) for outcome in some]
    return _summary(outcomes, time.monotonic() - began, whole=settings == list(SETTINGS))


def _all_of(setting: Setting, place: Path, seed: int) -> list[Outcome]:
    """Every chain of one setting."""
    outcomes: list[Outcome] = []

    def add(*more: Outcome) -> None:
        outcomes.extend(more)
        print("\n".join(outcome.row() for outcome in more), flush=True)

    with Driver(place, f"{setting.name}.txt") as driver:
        trials = Trials(setting, place, driver)
        middle = [phase for phase in STEPS_AND_COMMITS if setting.keep_best or not phase.startswith("best")]
        random.Random(f"{seed} {setting.name}").shuffle(middle)
        add(*trials.phases([*FIRST_MOMENTS, *middle, *LAST_MOMENTS], seed=seed))
        add(trials.moments(RANDOM_KILLS, "moments", seed=seed))
        if setting.name in REAL:
            add(trials.moments(REAL_KILLS, "processes", seed=seed, real=True))
        if setting.name in FLIPPED:
            add(trials.flips(FLIPS, seed=seed))
        if setting.name in FULL:
            with small_file_system(place / "disk", 8 * MEBIBYTE) as disk:
                if isinstance(disk, Path):
                    add(*(full_disk(trials, disk, share) for share in DISK_SHARES))
                else:
                    print(f"full disk: not tried: {disk}")
    return outcomes


def _summary(outcomes: list[Outcome], seconds: float, *, whole: bool) -> int:
    kills: Counter[str] = sum((outcome.kills for outcome in outcomes), Counter())
    different = [outcome for outcome in outcomes if outcome.faults]
    never = [phase for phase in PHASES if not kills[phase]]
    print(f"\n{len(outcomes)} chains in {seconds:.0f} s: {len(outcomes) - len(different)} end as their twin")
    print("kills at the named phases:", ", ".join(f"{phase} {kills[phase]}" for phase in PHASES))
    print("at", ", ".join(f"{what} {count}" for what, count in kills.items() if what not in PHASES))
    if never:
        print("never killed at:", ", ".join(never))
    return int(bool(different or (never and whole)))


if __name__ == "__main__":
    sys.exit(main())
