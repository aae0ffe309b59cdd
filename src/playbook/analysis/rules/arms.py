"""Which arm is best, and whether that is more than luck (B3, B9, B11).

Each arm is compared with the one of the best trial (`arm_differences`), or, where that was luck, with the one that is
told to be better. What is called worse is farther than any two of as many equal arms would be (Tukey 1953), so that
with any number of equal arms 95 % of the studies call none of them better; and what is called equal is nearer than a
margin, the noise of one trial.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from playbook.analysis.arm_differences import Difference, difference, is_best_by_luck
from playbook.analysis.finding import Finding
from playbook.analysis.multiple import all_pairs
from playbook.analysis.noise_of_trials import is_relative, noise_of
from playbook.analysis.regret import comparable
from playbook.analysis.repeats import averaged, is_repeated, trained_settings
from playbook.analysis.rules.best import best, is_level
from playbook.analysis.rules.best_of_n import expected, values_of
from playbook.analysis.rules.infeasible import infeasible_trials
from playbook.analysis.tables import Tables, computed_once
from playbook.text import brief, listed

Verdict = Literal["better", "worse", "equal", "cannot tell"]
Row = dict[str, Any]
"""Of `summary`."""


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    margin: float = 1.0
    """In the noise of one trial: arms that are nearer are equal, since one run more would not show which is better."""
    fewest: int = 6
    """Trials of an arm, of which none trained, that make it worse than one that trains."""
    draws: int = 4000
    """Of the arms' true values, for the probability of being the best: to within a hundredth."""
    crossing: float = 1.0
    """In the noise of one trial, how far ahead each of two best-of-n curves must be, that cross."""
    fewest_of_curve: int = 3
    """The n from which on a curve of the best of n is looked at: a search of two trials is none."""


@dataclass(frozen=True)
class Arm:
    """An arm against the best one; values are in the objective's units.

    `best` is the objective of its best setting (its `trial`), `expected` and `interval` what that would be with another
    seed, `p_best` the probability that no other arm is better. `ahead_until`: where the curves of the best of n cross,
    the largest n at which this arm is ahead of the best one.
    """

    arm: str
    trials: int
    infeasible: int
    best: float | None
    trial: int | None
    expected: float | None
    interval: tuple[float, float] | None
    p_best: float | None
    verdict: Verdict
    ahead_until: int | None = None


def summary(tables: Tables) -> pl.DataFrame:
    """A row an arm, best first: `arm`, `trials`, `infeasible`, `best`, `trial`, and the `median` of the feasible.

    Where settings are repeated, each counts as one trial with its mean.
    """
    failed, tables = infeasible_trials(tables), averaged(tables)
    rows = []
    for arm in tables.arms:
        counted, ranked = comparable(tables.of_arm(arm)), tables.ranked(arm)
        best_value, trial = (ranked["objective"][0], ranked["trial"][0]) if len(ranked) else (None, None)
        works = ranked.filter(~pl.col("trial").is_in(failed))
        rows.append((arm, len(counted), len(counted) - len(works), best_value, trial, works["objective"].median()))
    schema = {
        "arm": pl.String(),
        "trials": pl.Int64(),
        "infeasible": pl.Int64(),
        "best": pl.Float64(),
        "trial": pl.Int64(),
        "median": pl.Float64(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row").sort(
        pl.col("best") * tables.sign, nulls_last=True, maintain_order=True
    )


@computed_once
def compared(tables: Tables, limits: Thresholds = Thresholds()) -> tuple[Arm, ...]:
    """The arms, the best first; the others by their best trial. Empty where there are no two or nothing is feasible."""
    rows = list(summary(tables).iter_rows(named=True))
    if len(rows) < 2 or rows[0]["best"] is None:
        return ()
    rows = _leader_first(tables, rows)
    first, *rest = rows
    apart = {row["arm"]: difference(tables, first["arm"], row["arm"]) for row in rest if row["best"] is not None}
    verdicts: list[Verdict] = [_verdict(tables, first, row, apart.get(row["arm"]), len(rows), limits) for row in rest]
    of_first: Verdict = "cannot tell"
    if all(verdict == "worse" for verdict in verdicts):
        of_first = "better"
    elif all(verdict in ("worse", "equal") for verdict in verdicts):
        of_first = "equal"
    chances = _chances([apart.get(row["arm"]) for row in rest], limits)
    found = []
    for row, verdict, chance in zip(rows, [of_first, *verdicts], chances, strict=True):
        answer = best(tables, row["arm"])
        found.append(
            Arm(
                row["arm"],
                row["trials"],
                row["infeasible"],
                row["best"],
                row["trial"],
                None if answer is None else answer.expected,
                None if answer is None else answer.interval,
                chance,
                verdict,
                None if row is first else _ahead_until(tables, first["arm"], row["arm"], limits),
            )
        )
    return tuple(found)


def _leader_first(tables: Tables, rows: list[Row]) -> list[Row]:
    """The arms, best trial first, but for the one that is most ahead of the first over the points that they share.

    Only where the first one's best trial is ahead of its pair by no more than the luck of a pair. And not where the
    objective counts examples, a few of which may decide.
    """
    if noise_of(tables).least > 0 or is_level(tables):
        return rows
    first, ahead = rows[0]["arm"], {}
    for row in rows[1:]:
        found = None if row["best"] is None else difference(tables, first, row["arm"])
        if found is None or found.method != "pairs" or not is_best_by_luck(tables, first, row["arm"], found):
            continue
        if -found.by > all_pairs(len(rows), found.degrees) * found.se:
            ahead[row["arm"]] = found.by / found.se
    if not ahead:
        return rows
    leader = min(ahead, key=ahead.__getitem__)
    return sorted(rows, key=lambda row: row["arm"] != leader)


def _verdict(
    tables: Tables,
    first: Row,
    row: Row,
    apart: Difference | None,
    arms: int,
    limits: Thresholds,
) -> Verdict:
    """What can be said of an arm beside the best one."""
    noise = noise_of(tables)
    if row["best"] is None:
        return "worse" if _never_trains(first, row, arms, limits) else "cannot tell"
    if apart is None or is_level(tables):
        return "cannot tell"
    bound = all_pairs(arms, apart.degrees) * apart.se
    lead = trained_settings(tables, row["arm"])[0].loss - trained_settings(tables, first["arm"])[0].loss
    least = noise.least * (1 - 1e-9)
    few = least > 0 and (lead < least or (apart.by < least and not is_relative(tables)))
    if apart.by > bound and not few:
        return "worse"
    margin = noise.relative if noise.relative is not None else noise.of_one
    if margin is not None and abs(apart.by) + bound <= limits.margin * margin:
        return "equal"
    return "cannot tell"


def _never_trains(first: Row, row: Row, arms: int, limits: Thresholds) -> bool:
    """Whether it is no chance that nothing of this arm trained (Fisher's exact test, times the arms)."""
    from scipy.stats import fisher_exact

    trials, failed, others = row["trials"], first["infeasible"], first["trials"]
    if trials < limits.fewest:
        return False
    return float(fisher_exact([[trials, 0], [failed, others - failed]], "greater").pvalue) * (arms - 1) <= 0.05


def _chances(apart: list[Difference | None], limits: Thresholds) -> list[float | None]:
    """The probability of each arm, the best one first, that none is better; None where that is not known of all."""
    known = [each for each in apart if each is not None]
    if len(known) < len(apart) or not known:
        return [None] * (1 + len(apart))
    rng = np.random.default_rng(0)
    shared = np.median([each.se for each in known]) / math.sqrt(2)
    first = shared * rng.standard_normal(limits.draws)
    own = [math.sqrt(max(each.se**2 - shared**2, each.se**2 / 4)) for each in known]
    degrees = [min(each.degrees, 1e6) for each in known]
    others = [each.by + sd * rng.standard_t(df, limits.draws) for each, sd, df in zip(known, own, degrees, strict=True)]
    wins = np.bincount(np.argmin(np.stack([first, *others]), axis=0), minlength=1 + len(known))
    return [float(each) / limits.draws for each in wins]


def _ahead_until(tables: Tables, first: str, other: str, limits: Thresholds) -> int | None:
    """The largest n at which the other arm's best of n is expected ahead; None where the curves do not cross."""
    noise = noise_of(tables)
    values = [values_of(averaged(tables), arm) for arm in (first, other)]
    most = min(len(each) for each in values)
    if noise.of_one is None or most <= limits.fewest_of_curve:
        return None
    counts = range(limits.fewest_of_curve, most + 1)
    one, two = (expected(each, counts, tables.objective.mode, replacement=False) * tables.sign for each in values)
    ahead = one - two
    least = limits.crossing * noise.of_one
    if not (ahead.max() > least and ahead[-1] < -least):
        return None
    return int(counts[int(np.flatnonzero(ahead > 0)[-1])])


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`arms`, where there are two or more."""
    found = compared(tables, limits)
    if not found:
        return []
    noise = noise_of(tables)
    rows = [asdict(each) | {"p_best": each.p_best and round(each.p_best, 4)} for each in found]
    margin = None if noise.of_one is None else limits.margin * noise.of_one
    evidence = {"arms": rows, "margin": margin, "noise_from": noise.source}
    trials = tuple(each.trial for each in found if each.trial is not None)
    return [
        Finding("arms", "info", "B3", " ".join(_sentences(tables, found, margin)), trials=trials, evidence=evidence)
    ]


def _sentences(tables: Tables, found: tuple[Arm, ...], margin: float | None) -> list[str]:
    first, metric = found[0], tables.objective.metric
    values = [each.best for each in found if each.best is not None]
    best_value = min(values, key=lambda value: value * tables.sign)
    tied = [each.arm for each in found if each.best == best_value]
    named = {
        verdict: [each.arm for each in found[1:] if each.verdict == verdict]
        for verdict in ("worse", "equal", "cannot tell")
    }
    value = f"{metric} {brief(best_value)}{' on average over its repeats' * is_repeated(tables)}"
    said = [f"The best {'setting' if is_repeated(tables) else 'trial'} is of {tied[0]} ({value})."]
    if len(tied) > 1:
        said = [f"{listed(tied)} tie for the best ({value})."]
    if named["worse"]:
        over_all = "" if first.arm in tied else ", over all the points that they share,"
        said.append(f"{first.arm} is better{over_all} than {listed(named['worse'])} beyond what luck explains.")
    if named["equal"] and margin is not None:
        said.append(
            f"{listed(named['equal'])} {_are(named['equal'])} equal to {first.arm}, to within {brief(margin)},"
            " the noise of one trial."
        )
    if named["cannot tell"]:
        said.append(f"{listed(named['cannot tell'])} cannot be told from {first.arm}.")
    for each in found[1:]:
        if each.ahead_until is not None:
            said.append(f"The curves of the best of n cross: with up to {each.ahead_until} trials {each.arm} is ahead.")
    return said


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
