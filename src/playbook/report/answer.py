"""The answer of a study in two sentences: which setting won, by how much over what; and what limits that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from playbook.analysis.finding import Finding
from playbook.analysis.repeats import OF_REPEATS, averaged, settings
from playbook.analysis.rules.arms import Comparison, Thresholds, comparisons
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
        return f"{_won(tables, compared)} {_sure(tables, compared, doubt)}"
    if tables.repeat and len(repeated := _best_settings(tables, best["arm"])):
        return _on_average(tables, repeated, "" if doubt == _DOUBTS["few_trials"] else doubt)  # repeats are no points
    return f"{_best(tables, ranked)} {_rests_on(len(ranked), doubt)}"


def _nothing_worked(trials: pl.DataFrame) -> str:
    counts = {status: len(trials.filter(status=status)) for status in ("infeasible", "crashed")}
    said = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    look = (
        "look at the first steps of one of them; where training diverges, try warmup, then clipping, then"
        " normalization or residual connections, and a lower learning rate last (E8)"
    )
    if counts["crashed"] == len(trials):
        look = "look at the traceback of one of them"
    return (
        f"None of the {count(len(trials), 'trial')} has an objective ({said or 'none was recorded'})."
        f" There is no best setting: {look}."
    )


def _won(tables: Tables, compared: Sequence[Comparison]) -> str:
    second = compared[0]
    assert second.other_objective is not None
    best = averaged(tables).ranked(second.best).row(0, named=True)
    noun = "setting" if tables.repeat else "trial"
    value, setting = f"{tables.objective.metric} {brief(second.best_objective)}", _with(tables, best)
    value += " on average over its repeats" if tables.repeat else f" in trial {best['trial']}"
    one, other = second.best_trials, second.other_trials
    of = f"each the best of {count(one, noun)}" if one == other else f"the best of {one} and of {other} {noun}s"
    if second.best_objective == second.other_objective:
        tied = [second.best, *(each.other for each in compared if each.other_objective == second.best_objective)]
        return f"{', '.join(tied[:-1])} and {tied[-1]} tie: {value}{setting}, {of}."
    return (
        f"{second.best} comes out ahead: {value}{setting}, {_than(second.best_objective, second.other_objective)}"
        f" {second.other} ({brief(second.other_objective)}), {of}."
    )


def _sure(tables: Tables, compared: Sequence[Comparison], doubt: str) -> str:
    close = [each.other for each in compared if each.verdict == "cannot tell"]
    repeats = _noise(settings(tables, compared[0].best)) if tables.repeat else None
    limits = "".join(f"; also, {limit}" for limit in (repeats and repeats[1], doubt) if limit)
    if not close:
        seed = "" if tables.repeat else ", though not of a seed"
        return f"That is more than the luck of a search explains{seed}{limits}."
    against = f"{len(close)} of the other {len(compared)} arms"
    if len(close) == 1:
        against = close[0]
    elif len(close) == len(compared):
        against = "each of the other arms"
    few = any(min(each.best_trials, each.other_trials) < Thresholds.fewest for each in compared if each.other in close)
    why = "so few cannot tell" if few else "half as many trials often say the opposite"
    return f"Against {against} the order may be luck: {why}{limits}."


def _best(tables: Tables, ranked: pl.DataFrame) -> str:
    best = ranked.row(0, named=True)
    middle = ranked["objective"].median()
    assert isinstance(middle, float)
    tied = ranked.filter(pl.col("objective") == best["objective"])["trial"].to_list()
    value = f"{tables.objective.metric} {brief(best['objective'])}"
    typical = f"{_than(best['objective'], middle)} the typical one"
    if len(tied) > 1:
        shown = f"{', '.join(map(str, tied[:3]))}{', …' if len(tied) > 3 else ''}"
        return f"{len(tied)} trials tie for the best (trial {shown}): {value}, {typical}."
    lead = f"{_than(best['objective'], ranked['objective'][1])} the next (trial {ranked['trial'][1]})"
    return f"Trial {best['trial']} is the best{_with(tables, best)}: {value}, {lead} and {typical}."


def _rests_on(num_trials: int, doubt: str) -> str:
    luck = "how much of the lead is luck is unknown until the best is run again with other seeds"
    return f"This rests on {count(num_trials, 'trial')} that trained, with one seed each; {doubt or luck}."


def _best_settings(tables: Tables, arm: str) -> pl.DataFrame:
    """The settings of which every repeat trained, the best first."""
    return settings(tables, arm).drop_nulls("_mean").sort(pl.col("_mean") * tables.sign, maintain_order=True)


def _noise(repeated: pl.DataFrame) -> tuple[float, str] | None:
    """The standard deviation of repeats of the better settings, and the words for it; None where it is 0 or unknown."""
    better = (len(repeated) + 1) // 2  # next to divergence the noise is another
    variance = repeated["_variance"].head(better).mean()
    if not isinstance(variance, float) or not variance:
        return None
    return math.sqrt(variance), f"repeats of one setting differ by {math.sqrt(variance):.2g} (standard deviation)"


def _on_average(tables: Tables, repeated: pl.DataFrame, doubt: str) -> str:
    """The answer of a study that repeats its settings."""
    best, metric = repeated.row(0, named=True), tables.objective.metric
    average = f"{metric} {brief(best['_mean'])} on average over {count(best['_count'], 'repeat')}"
    noise = _noise(repeated)
    if len(repeated) == 1:
        luck = f" {_capital(noise[1])}: between two single trials, less than that is luck." if noise else ""
        return f"One setting was repeated: {average}.{luck}"
    second = repeated.row(1, named=True)
    if best["_mean"] == second["_mean"]:
        answered = f"The settings {_named(best)} and {_named(second)} tie for the best: {average}."
    else:
        apart = _than(best["_mean"], second["_mean"])
        answered = f"The best setting is {_named(best)}: {average}, {apart} the next, {_named(second)}."
    sure = f"{noise[1]}, the mean of {best['_count']} by {noise[0] / math.sqrt(best['_count']):.2g}" if noise else ""
    limits = "; also, ".join(limit for limit in (sure, doubt) if limit)
    return f"{answered} {_capital(limits)}." if limits else answered


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


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


def _than(one: float, other: float) -> str:
    """`0.0042 better than`: the first is the better one."""
    return f"{abs(one - other):.2g} better than" if one != other else "as good as"
