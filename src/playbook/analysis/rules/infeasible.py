"""What failed, why and where (B7).

A trial is infeasible when it diverged or ran out of memory: a fact of the run. Most failures are not that loud. A run
may end with finite numbers that are no better than at its start, or than always predicting the same: a judgement, made
here on a named metric and counted by its own name. Settings that are repeated are counted, not their repeats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl

from playbook.analysis.finding import Finding, Remedy
from playbook.analysis.metrics import training_loss
from playbook.analysis.regret import comparable
from playbook.analysis.repeats import noun, setting_of_trials
from playbook.analysis.tables import Tables, computed_once
from playbook.analysis.threshold import SIDES, Cut, threshold
from playbook.analysis.threshold import Thresholds as CutThresholds
from playbook.study.space import Choice, Float, Value
from playbook.text import brief
from playbook.validation import show

FACTS = ("diverged", "out_of_memory")
JUDGEMENTS = ("not_finite", "no_better_than_start", "no_better_than_chance")


@dataclass(frozen=True)
class Thresholds:
    """What the verdicts depend on.

    A fraction is surely over a number where the lower end of its interval is. For `many` and `most` that takes 3 and 6
    of 8 trials, 4 and 10 of 16, 15 and 47 of 100.
    """

    of_chance: float = 0.02
    """A trial that has gone less than this share of the way from chance to the best trial is no better than chance."""
    many: float = 0.10
    """The fraction of infeasible trials that is advised on if it is surely over it."""
    most: float = 0.40
    """The same for a problem."""
    sure: float = 0.8
    """The confidence of the interval."""
    cut: CutThresholds = field(default_factory=CutThresholds)
    """When a value of a hyperparameter parts the trials that fail."""
    p_cut: float = 0.05
    """The chance of a cut as clear, over all that were tried."""
    least_range: float = 0.2
    """The share of the range that must be left for the study to be proposed again without the rest."""


@computed_once
def causes(tables: Tables, limits: Thresholds = Thresholds()) -> pl.DataFrame:
    """`trial`, `arm`, `cause` (a fact, else a judgement, else null) and the `metric` that it was judged on.

    A row for each trial that did not crash. The training loss is judged at its last evaluation. Where there is no
    curve of it, the objective's curve is judged by its best value, since validation may get worse after it got better.
    """
    trials = comparable(tables.trials)
    out_of_memory = pl.col("reason") == "out_of_memory" if "reason" in trials.columns else pl.lit(False)
    fact = pl.when(pl.col("status") == "infeasible").then(
        pl.when(out_of_memory).then(pl.lit("out_of_memory")).otherwise(pl.lit("diverged"))
    )
    judged = pl.concat([_by_curve(tables), _by_objective(tables, limits)]).unique(
        "trial", keep="first", maintain_order=True
    )
    found = trials.select("trial", "arm", fact=fact).join(judged, on="trial", how="left", maintain_order="left")
    metric = pl.when(pl.col("fact").is_null()).then(pl.col("metric"))
    return found.select("trial", "arm", cause=pl.coalesce("fact", "judgement"), metric=metric)


def infeasible_trials(tables: Tables, limits: Thresholds = Thresholds()) -> frozenset[int]:
    """The trials that are infeasible, by fact or by judgement: what every count, and every cross of a plot, is of."""
    return frozenset(causes(tables, limits).filter(pl.col("cause").is_not_null())["trial"].to_list())


def ends(tables: Tables, metric: str) -> pl.DataFrame:
    """`trial`, `first` and `last` of a metric's curve, and the `least` and `most` of its finite values.

    Only for trials with two evaluations or more: one does not say what training did. `first` is null where the first
    evaluation is not at step 0: after 1,000 steps a trial may have learned all that there is.
    """
    finite = pl.col("value").filter(pl.col("value").is_finite())
    curves = tables.curves.filter(pl.col("metric") == metric).sort("trial", "step")
    value = pl.col("value")
    rows = curves.group_by("trial", maintain_order=True).agg(
        first=pl.when(pl.col("step").first() == 0).then(value.first()),
        last=value.last(),
        least=finite.min(),
        most=finite.max(),
        evaluations=pl.len(),
    )
    return rows.filter(pl.col("evaluations") >= 2).drop("evaluations")


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`infeasible_fraction` for each arm where a trial is infeasible, `no_better_than_start` where it is judged so."""
    judged = causes(tables, limits)
    found = []
    for arm in tables.arms:
        mine = judged.filter(pl.col("arm") == arm)
        if mine["cause"].is_not_null().any():
            found.append(_fraction(tables, arm, mine, limits))
            found += _no_better(arm, mine)
    return found


def _by_curve(tables: Tables) -> pl.DataFrame:
    """`trial`, `judgement` and `metric` of the trials whose curve says that they failed."""
    loss, objective = training_loss(tables), tables.objective.metric
    best = pl.col("least" if tables.sign == 1 else "most")
    by_objective = _judged(ends(tables, objective), best * tables.sign >= pl.col("first") * tables.sign, objective)
    if loss is None:
        return by_objective.filter(pl.col("judgement").is_not_null())
    by_loss = _judged(ends(tables, loss), pl.col("last") > pl.col("first"), loss)
    both = pl.concat([by_loss, by_objective.join(by_loss, on="trial", how="anti")])
    return both.filter(pl.col("judgement").is_not_null())


def _judged(curves: pl.DataFrame, no_better: pl.Expr, metric: str) -> pl.DataFrame:
    not_finite = ~pl.col("last").is_finite()
    judgement = pl.when(not_finite).then(pl.lit("not_finite")).when(no_better).then(pl.lit("no_better_than_start"))
    return curves.select("trial", judgement=judgement, metric=pl.lit(metric))


def _by_objective(tables: Tables, limits: Thresholds) -> pl.DataFrame:
    """As `_by_curve`, of the trials whose objective alone says that they failed."""
    loss = pl.col("objective") * tables.sign
    complete = tables.trials.filter(pl.col("status") == "complete")
    not_finite, no_better, ranked = ~loss.is_finite().fill_null(False), pl.lit(False), tables.ranked()
    if tables.chance is not None and len(ranked):
        chance, best = tables.chance * tables.sign, float(ranked["objective"][0]) * tables.sign
        margin = limits.of_chance * max(chance - best, 0.0)
        no_better = loss >= chance - margin
    judgement = pl.when(not_finite).then(pl.lit("not_finite")).when(no_better).then(pl.lit("no_better_than_chance"))
    judged = complete.select("trial", judgement=judgement, metric=pl.lit(tables.objective.metric))
    return judged.filter(pl.col("judgement").is_not_null())


def _no_better(arm: str, judged: pl.DataFrame) -> list[Finding]:
    found = []
    for cause, than in (("no_better_than_start", "at the first evaluation"), ("no_better_than_chance", "chance")):
        of_cause = judged.filter(pl.col("cause") == cause)
        for (metric,), rows in of_cause.group_by("metric", maintain_order=True):
            trials = tuple(rows["trial"].to_list())
            message = (
                f"{len(trials)} of {len(judged)} trials ended with finite numbers and no better than {than},"
                f" judged by {metric}; they count as infeasible."
            )
            evidence = {"metric": metric, "cause": cause, "count": len(trials), "trials": len(judged)}
            found.append(
                Finding("no_better_than_start", "info", "B7", message, arm=arm, trials=trials, evidence=evidence)
            )
    return found


def _fraction(tables: Tables, arm: str, judged: pl.DataFrame, limits: Thresholds) -> Finding:
    from scipy.stats import binomtest

    failing = tuple(judged.filter(pl.col("cause").is_not_null())["trial"].to_list())
    numbered = judged.join(setting_of_trials(tables, arm), on="trial", maintain_order="left")
    cause = pl.col("cause").drop_nulls().first()  # a setting fails where a repeat of it does
    judged = numbered.group_by("setting", maintain_order=True).agg(pl.col("trial").first(), cause)
    failed = judged["cause"].is_not_null()
    count, total = int(failed.sum()), len(failed)
    surely = float(binomtest(count, total).proportion_ci(limits.sure, "exact").low)
    severity: Literal["problem", "advice", "info"] = (
        "problem" if surely > limits.most else "advice" if surely > limits.many else "info"
    )
    counts = dict(judged.filter(failed).group_by("cause").len().iter_rows())
    by_cause = {cause: counts[cause] for cause in (*FACTS, *JUDGEMENTS) if cause in counts}
    names = ", ".join(f"{number} {cause.replace('_', ' ')}" for cause, number in by_cause.items())
    message = f"{count} of {total} {noun(tables)} ({count / total:.0%}) are infeasible: {names}."
    evidence: dict[str, Any] = {"trials": total, "infeasible": count, "causes": by_cause, "surely_over": surely}
    where = _where(tables, arm, judged.select("trial", failed=failed), limits)
    remedies: tuple[Remedy, ...] = ()
    chosen = None if where else _chosen(tables, arm, judged.select("trial", failed=failed), limits)
    if chosen is not None:
        message += f" Most have {chosen[0]}={show(chosen[1])}."
        evidence["where"] = {"parameter": chosen[0], "value": chosen[1], "p": chosen[2]}
    may_be_a_bug = severity != "info" and where is None and chosen is None
    if may_be_a_bug:
        seen = "That is the whole space" if count == total else "No hyperparameter says where"
        message += f" {seen}: it may be a bug in the training code or in the data rather than a matter of settings."
    evidence["may_be_a_bug"] = may_be_a_bug
    if where is not None:
        message += (
            f" Most have {where.key} {where.side} {where.value:.3g}: there {where.inside} of {where.num_inside} failed,"
            f" elsewhere {where.outside} of {where.num_outside}."
        )
        evidence["where"] = {"parameter": where.key, "side": where.side, "value": where.value, "p": where.p}
        remedies = () if severity == "info" else _narrower(tables, arm, where, limits)
    return Finding(
        "infeasible_fraction",
        severity,
        "B7",
        message,
        arm=arm,
        parameter=None if where is None else where.key,
        trials=failing,
        evidence=evidence,
        next=remedies,
    )


def _where(tables: Tables, arm: str, settings: pl.DataFrame, limits: Thresholds) -> Cut | None:
    """The threshold that says most about where settings fail, if chance does not explain it.

    `settings` has a `trial` of each, and whether it `failed`.
    """
    trials = settings.join(tables.of_arm(arm), on="trial", maintain_order="left")
    cuts = [
        threshold(trials, trials["failed"], key, each, side)
        for key, each in tables.space.get(arm, {}).items()
        if key not in tables.repeat and each.is_ordered
        for side in SIDES
    ]
    clear = [cut for cut in cuts if cut and cut.separates(limits.cut) and cut.p * len(cuts) < limits.p_cut]
    return min(clear, key=lambda cut: cut.p, default=None)


def _chosen(tables: Tables, arm: str, settings: pl.DataFrame, limits: Thresholds) -> tuple[str, Value, float] | None:
    """The key and the value of a choice without an order that says most about where settings fail, and its p-value."""
    from scipy.stats import fisher_exact

    trials = settings.join(tables.of_arm(arm), on="trial", maintain_order="left")
    failed = trials["failed"].to_numpy()
    found: list[tuple[str, Value, float]] = []
    for key, each in tables.space.get(arm, {}).items():
        if key in tables.repeat or not isinstance(each, Choice) or each.is_ordered or key not in trials.columns:
            continue
        given = trials[key].to_list()
        for value in each.values:
            here = np.array([show(one) == show(value) for one in given])
            counts = [
                [(failed & here).sum(), (~failed & here).sum()],
                [(failed & ~here).sum(), (~failed & ~here).sum()],
            ]
            found.append((key, value, float(fisher_exact(counts, alternative="greater").pvalue)))
    clear = [each for each in found if each[2] * len(found) < limits.p_cut]
    return min(clear, key=lambda each: each[2], default=None)


def _narrower(tables: Tables, arm: str, where: Cut, limits: Thresholds) -> tuple[Remedy, ...]:
    """The study again without the region that fails, unless that leaves out the best trial or nearly everything."""
    dimension, ranked = tables.space[arm][where.key], tables.ranked(arm)
    if not isinstance(dimension, Float) or not len(ranked):
        return ()
    end = float(brief(where.value, digits=2))
    low, high = (dimension.low, end) if where.side == "above" else (end, dimension.high)
    if (
        not low < float(ranked[where.key][0]) < high
        or dimension.position(high) - dimension.position(low) < limits.least_range
    ):
        return ()
    return (Remedy({where.key: Float(low, high, dimension.scale)}),)
