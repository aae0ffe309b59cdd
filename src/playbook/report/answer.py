"""The answer of a study in two sentences: which setting won, by how much over what; and what limits that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from playbook.analysis.finding import Finding
from playbook.analysis.repeats import OF_REPEATS, settings
from playbook.analysis.rules.arms import Comparison, comparisons
from playbook.analysis.tables import Tables
from playbook.report.charts.axes import settings_of
from playbook.text import brief, count

_DOUBTS = {
    "space_boundary": "its best {parameter} lies at the edge of the range, so better ones may lie beyond",
    "lr_at_stability_edge": "its best learning rate lies next to runs that diverge",
    "few_trials": "more trials would probably find better ones",
    "still_improving": "its best trials were still improving when they ended",
    "overfitting": "its best trial overfits",
    "infeasible_fraction": "many trials did not train at all",
    "best_step_late": "a longer training may change the order",
}
"""What a finding takes away from the answer, where it does; the gravest one is said."""
MOST_SETTINGS = 2


def answer(tables: Tables, findings: Sequence[Finding]) -> str:
    """The two sentences."""
    trials, ranked = tables.trials, tables.ranked()
    if not len(trials):
        return "No trial has ended yet. There is nothing to read."
    if not len(ranked):
        return _nothing_worked(trials)
    best = ranked.row(0, named=True)
    doubt = _doubt(findings, best["arm"])
    if len(ranked) == 1:
        return (
            f"Trial {best['trial']}{_with(tables, best)} is the only one with an objective:"
            f" {tables.objective.metric} {brief(best['objective'])}. There is nothing to compare it with."
        )
    compared = [each for each in comparisons(tables) if each.other_objective is not None]
    if compared:
        return f"{_won(tables, best, compared[0])} {_sure(compared, doubt)}"
    if tables.repeat and len(repeated := _best_settings(tables, best["arm"])):
        return _on_average(tables, repeated, "" if doubt == _DOUBTS["few_trials"] else doubt)  # repeats are no points
    return f"{_best(tables, ranked)} {_rests_on(tables, len(ranked), doubt)}"


def _nothing_worked(trials: pl.DataFrame) -> str:
    counts = [f"{each} {status}" for status in ("infeasible", "crashed") if (each := len(trials.filter(status=status)))]
    look = "look at the first steps of one of them; where it diverges, lower the learning rate"
    if len(trials.filter(status="crashed")) == len(trials):
        look = "look at the traceback of one of them"
    return (
        f"None of the {count(len(trials), 'trial')} has an objective ({', '.join(counts) or 'none was recorded'})."
        f" There is no best setting: {look}."
    )


def _won(tables: Tables, best: Mapping[str, Any], second: Comparison) -> str:
    assert second.other_objective is not None
    counts = (second.best_trials, second.other_trials)
    of = f"each the best of {counts[0]}" if counts[0] == counts[1] else f"the best of {counts[0]} and of {counts[1]}"
    apart = _apart(second.best_objective, second.other_objective)
    return (
        f"{best['arm']} comes out ahead: {tables.objective.metric} {brief(best['objective'])} in trial"
        f" {best['trial']}{_with(tables, best)}, {apart} than {second.other} ({brief(second.other_objective)}),"
        f" {of} trials."
    )


def _sure(compared: Sequence[Comparison], doubt: str) -> str:
    close = [each.other for each in compared if each.verdict == "cannot tell"]
    also = f"; also, {doubt}" if doubt else ""
    if not close:
        return f"That is more than the luck of a search explains, though not of a seed{also}."
    against = f"{len(close)} of the other {len(compared)} arms"
    if len(close) == len(compared):
        against = close[0] if len(close) == 1 else "each of the other arms"
    elif len(close) == 1:
        against = close[0]
    return f"Against {against} the order may be luck: half of the trials could have turned it{also}."


def _best(tables: Tables, ranked: pl.DataFrame) -> str:
    best = ranked.row(0, named=True)
    middle = ranked["objective"].median()
    assert isinstance(middle, float)
    return (
        f"Trial {best['trial']} is the best{_with(tables, best)}: {tables.objective.metric} {brief(best['objective'])},"
        f" {_apart(best['objective'], ranked['objective'][1])} than the next (trial {ranked['trial'][1]}) and"
        f" {_apart(best['objective'], middle)} than the typical one."
    )


def _rests_on(tables: Tables, num_trials: int, doubt: str) -> str:
    luck = "how much of the lead is luck is unknown until the best is run again with other seeds"
    return f"This rests on {count(num_trials, 'trial')} that trained, with one seed each; {doubt or luck}."


def _best_settings(tables: Tables, arm: str) -> pl.DataFrame:
    """The settings of which every repeat trained, the best first."""
    return settings(tables, arm).drop_nulls("_mean").sort(pl.col("_mean") * tables.sign, maintain_order=True)


def _on_average(tables: Tables, repeated: pl.DataFrame, doubt: str) -> str:
    """The answer of a study that repeats its repeated."""
    best, metric = repeated.row(0, named=True), tables.objective.metric
    average = f"{metric} {brief(best['_mean'])} on average over {count(best['_count'], 'repeat')}"
    variance = repeated["_variance"].head(-(-len(repeated) // 2)).mean()  # next to divergence the noise is another
    noise = math.sqrt(variance) if isinstance(variance, float) else 0.0
    repeats = f"Repeats of one setting differ by {noise:.2g} (standard deviation)" if noise else ""
    if len(repeated) == 1:
        luck = f" {repeats}: between two single trials, less than that is luck." if repeats else ""
        return f"One setting was repeated: {average}.{luck}"
    second = repeated.row(1, named=True)
    apart = _apart(best["_mean"], second["_mean"])
    said = f"The best setting is {_named(best)}: {average}, {apart} than the next, {_named(second)}."
    sure = f"{repeats}, the mean of {best['_count']} by {noise / math.sqrt(best['_count']):.2g}" if repeats else ""
    limits = "; also, ".join(each for each in (sure, doubt) if each)
    return f"{said} {limits[0].upper()}{limits[1:]}." if limits else said


def _named(row: Mapping[str, Any]) -> str:
    keys = sorted((key for key in row if key not in OF_REPEATS), key=lambda key: key != "lr")
    shown = ", ".join(f"{key}={brief(row[key])}" for key in keys[:MOST_SETTINGS])
    return shown + (", …" if len(keys) > MOST_SETTINGS else "")


def _doubt(findings: Sequence[Finding], arm: str) -> str:
    """What the gravest finding about the winner takes away; empty where nothing does."""
    for finding in findings:
        if finding.severity != "info" and finding.code in _DOUBTS and finding.arm in (None, arm):
            return _DOUBTS[finding.code].format(parameter=finding.parameter or "setting")
    return ""


def _with(tables: Tables, row: Mapping[str, Any]) -> str:
    """` with lr=0.081`: its settings besides those that make its arm, the learning rate first."""
    settings = {key: value for key, value in settings_of(tables, row).items() if f"{key}=" not in row["arm"]}
    keys = sorted(settings, key=lambda key: key != "lr")[:MOST_SETTINGS]
    more = ", …" if len(settings) > MOST_SETTINGS else ""
    return f" with {', '.join(f'{key}={brief(settings[key])}' for key in keys)}{more}" if keys else ""


def _apart(one: float, other: float) -> str:
    """`0.0042 better`: the first is the better one."""
    return f"{abs(one - other):.2g} better" if one != other else "no better"
