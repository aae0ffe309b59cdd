"""The answer of a study in two sentences: what is best, and what it would be again; and what cannot be told from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from playbook.analysis.finding import Finding
from playbook.analysis.noise_of_trials import noise_of
from playbook.analysis.repeats import is_repeated, noun, trained_settings
from playbook.analysis.rules.arms import Arm, compared
from playbook.analysis.rules.best import Best, best, is_level
from playbook.analysis.tables import Tables
from playbook.report.charts.axes import settings_of
from playbook.study.ranking import setting_keys
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
    trials, found = tables.trials, best(tables)
    if not len(trials):
        return "No trial has ended yet. There is nothing to read."
    if found is None:
        if len(tables.ranked()):
            return "No setting trained in each of its repeats. There is no best one."
        return _nothing_worked(trials)
    winner = trials.row(by_predicate=pl.col("trial") == found.trial, named=True)
    doubt = _doubt(findings, winner["arm"])
    if found.tried == 1 and len(tables.ranked()) == 1:
        return (
            f"Trial {found.trial}{_with(tables, winner)} is the only one with an objective:"
            f" {tables.objective.metric} {brief(found.value)}. There is nothing to compare it with."
        )
    if is_level(tables):
        return (
            f"All {count(found.tried, noun(tables).removesuffix('s'))} have {tables.objective.metric}"
            f" {brief(found.value)}. There is no winner{_also(doubt)}."
        )
    arms = compared(tables)
    if arms:
        return f"{_ahead(tables, arms, winner, found)} {_sure(arms, found)}{_also(doubt)}."
    return f"{_best(tables, winner, found)} {_set(tables, found)}{_also(doubt)}."


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


def _ahead(tables: Tables, arms: Sequence[Arm], winner: Mapping[str, Any], found: Best) -> str:
    tied = [each.arm for each in arms if each.best == found.value]
    value = f"{tables.objective.metric} {brief(found.value)}{_of(tables, winner, found)}{_with(tables, winner)}"
    lead = f"{', '.join(tied[:-1])} and {tied[-1]} tie" if len(tied) > 1 else f"{arms[0].arm} comes out ahead"
    if arms[0].arm not in tied:  # better over the points that they share, where the best trial is a lucky one
        return f"{arms[0].arm} comes out ahead, though the best trial is of {tied[0]}: {value}{_again(found)}."
    return f"{lead}: {value}{_again(found)}."


def _sure(arms: Sequence[Arm], found: Best) -> str:
    """What can be said of the other arms."""
    others = arms[1:]
    of = {verdict: [each.arm for each in others if each.verdict == verdict] for verdict in ("worse", "equal")}
    rest = [each.arm for each in others if each.verdict == "cannot tell"]
    if not rest and not of["equal"]:
        return f"It is better than {_all_of(of['worse'], others)} beyond what luck explains"
    said = [f"it is better than {_all_of(of['worse'], others)}"] if of["worse"] else []
    said += (
        [f"{_all_of(of['equal'], others)} {'is' if len(of['equal']) == 1 else 'are'} as good"] if of["equal"] else []
    )
    if rest:
        why = ": the noise is unknown" if found.noise_from == "unknown" else ""
        said.append(f"against {_all_of(rest, others)} the order may be luck{why}")
    return _capital("; ".join(said))


def _all_of(names: Sequence[str], others: Sequence[Arm]) -> str:
    if len(names) == len(others) > 1:
        return "each of the other arms"
    return names[0] if len(names) == 1 else f"{len(names)} of the other {len(others)} arms"


def _best(tables: Tables, winner: Mapping[str, Any], found: Best) -> str:
    tied = tables.ranked().filter(pl.col("objective") == winner["objective"])["trial"].to_list()
    value = f"{tables.objective.metric} {brief(found.value)}"
    if is_repeated(tables):
        return f"The best setting is{_with(tables, winner, '')}: {value}{_of(tables, winner, found)}{_again(found)}."
    if len(tied) > 1:
        shown = f"{', '.join(map(str, tied[:3]))}{', …' if len(tied) > 3 else ''}"
        return f"{len(tied)} trials tie for the best (trial {shown}): {value}{_again(found)}."
    return f"Trial {found.trial} has the best value{_with(tables, winner)}: {value}{_again(found)}."


def _of(tables: Tables, winner: Mapping[str, Any], found: Best) -> str:
    """Of how many repeats the value is the mean, or of which trial it is."""
    if not is_repeated(tables):
        return f" in trial {found.trial}"
    repeats = len(trained_settings(tables, winner["arm"])[0].trials)
    return (
        f" on average over {count(repeats, 'repeat')}" if repeats > 1 else f" in trial {found.trial}, without a repeat"
    )


def _again(found: Best) -> str:
    if found.expected is None or found.interval is None:
        return ""
    low, high = found.interval
    return f"; trained again it would have about {brief(found.expected)} ({brief(low)} to {brief(high)})"


def _set(tables: Tables, found: Best) -> str:
    """What can be said of the other settings."""
    others, what = found.tried - 1, noun(tables)
    if found.noise_from == "unknown":
        return (
            f"Of the other {others} {what} none is told from it: the noise is unknown until the best are run again"
            " with other seeds"
        )
    if others == 0:
        return "No other setting was tried"
    told = others + 1 - len(found.members)
    source = f"(noise from {noise_of(tables).words})"
    if not found.is_tie:
        return f"It is told from {'the other one' if others == 1 else f'each of the other {others} {what}'} {source}"
    return f"{len(found.members) - 1} of the other {others} {what} cannot be told from it {source}" + (
        "" if told else ": this is a plateau"
    )


def _also(doubt: str) -> str:
    return f"; also, {doubt}" if doubt else ""


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _doubt(findings: Sequence[Finding], arm: str) -> str:
    """What the gravest finding about the winner takes away; empty where nothing does."""
    for finding in findings:
        if finding.severity != "info" and finding.code in _DOUBTS and finding.arm in (None, arm):
            return _DOUBTS[finding.code].format(parameter=finding.parameter or "setting")
    return ""


def _with(tables: Tables, row: Mapping[str, Any], word: str = " with") -> str:
    """` with lr=0.081`: its settings besides those that make its arm, the learning rate first, and seeds."""
    found = {key: value for key, value in settings_of(tables, row).items() if f"{key}=" not in row["arm"]}
    settings = {key: found[key] for key in setting_keys(found, tables.repeat)}
    keys = sorted(settings, key=lambda key: key != "lr")[:MOST_SETTINGS]
    more = ", …" if len(settings) > MOST_SETTINGS else ""
    return f"{word} {', '.join(f'{key}={brief(settings[key])}' for key in keys)}{more}" if keys else ""
