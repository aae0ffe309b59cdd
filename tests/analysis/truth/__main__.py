"""The table of claims: `make truth`, or `PYTHONPATH=tests/analysis:tests python -m truth --only arms --studies 50`.

Exits with 1 where a claim does not hold. Of studies in which the report keeps the verdict to itself nothing is counted:
`33 of 40` said it. Draw number i of a claim depends on the seed, the claim's words and i alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from zlib import crc32

import numpy as np

import truth
from truth.claim import Claim

BATCH = 10
"""Studies that a process draws at a time."""


def all_claims() -> list[Claim]:
    """Those of every module of this package, in order."""
    names = sorted(module.name for module in pkgutil.iter_modules(truth.__path__) if module.name != "__main__")
    modules = [importlib.import_module(f"truth.{name}") for name in names]
    return [claim for module in modules for claim in getattr(module, "CLAIMS", [])]


def draws(place: int, seed: int, begin: int, end: int) -> list[Any]:
    """What some draws of the claim in this place of the list say."""
    claim = all_claims()[place]
    words = crc32(f"{claim.verdict} {claim.scenario}".encode())
    return [claim.draw(np.random.default_rng([seed, words, i])) for i in range(begin, end)]


def rows(only: str, seed: int, studies: int | None, jobs: int) -> Iterator[tuple[Claim, list[Any]]]:
    """Each claim with what was drawn for it, None where nothing was said."""
    with ProcessPoolExecutor(jobs) as pool:
        chosen = [(i, c) for i, c in enumerate(all_claims()) if only in f"{c.verdict} {c.scenario}"]
        waiting = []
        for place, claim in chosen:
            total = min(claim.studies, studies or claim.studies)
            parts = [
                pool.submit(draws, place, seed, begin, min(begin + BATCH, total)) for begin in range(0, total, BATCH)
            ]
            waiting.append((claim, parts))
        for claim, parts in waiting:
            yield claim, [value for part in parts for value in part.result()]


def main() -> int:
    """Print the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="claims whose words hold this")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other studies")
    parser.add_argument("--studies", type=int, help="at most so many a claim")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    print("| verdict | scenario | studies | measured | 95 % interval | wanted | |\n|---|---|---|---|---|---|---|")
    failed = 0
    for claim, drawn in rows(given.only, given.seed, given.studies, given.jobs):
        values = [value for value in drawn if value is not None]
        studies = f"{len(values)} of {len(drawn)}" if len(values) < len(drawn) else f"{len(values)}"
        if not values:
            print(f"| {claim.verdict} | {claim.scenario} | {studies} | | | {claim.wanted} | not said |", flush=True)
            continue
        value, low, high = claim.summary(values)
        holds = claim.holds(value)
        failed += not holds
        print(
            f"| {claim.verdict} | {claim.scenario} | {studies} | {value:.3g} | {low:.3g} to {high:.3g} |"
            f" {claim.wanted} | {'' if holds else '**no**'} |",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
