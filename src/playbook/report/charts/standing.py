"""Which trials stand out and which failed: the same on every chart, in the table and at the head of the page (B7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from playbook.analysis.repeats import setting_of_trials, trained_settings
from playbook.analysis.rules.best import best as best_set
from playbook.analysis.rules.infeasible import causes
from playbook.analysis.tables import NUM_BEST, Tables, computed_once

WORDS = {
    "no_better_than_start": "no better than at the start",
    "no_better_than_chance": "no better than chance",
}
"""Causes whose name alone is no phrase."""


@dataclass(frozen=True)
class Standing:
    """`best` are stars: the winner, or the best few where the noise of trials is unknown, best first.

    `members` cannot be told from the winner; of a setting that is repeated there is the trial that stands for it.
    `shown` are the few whose curves stand out. `failed` says why, by trial: it is none of the others then, whatever its
    number.
    """

    best: tuple[int, ...]
    members: tuple[int, ...]
    shown: tuple[int, ...]
    failed: Mapping[int, str]


@computed_once
def standing(tables: Tables) -> Standing:
    """The standing of the trials."""
    judged = causes(tables).filter(pl.col("cause").is_not_null())
    failed = {trial: _why(cause, metric) for trial, _, cause, metric in judged.iter_rows()}
    works = [trial for trial in tables.ranked()["trial"] if trial not in failed]
    num_settings = len(trained_settings(tables))
    best, members = _best(tables, works, num_settings)
    shown = tuple(dict.fromkeys([*best, *members, *works]))[: min(NUM_BEST, max(1, num_settings // 2))]
    return Standing(best, members, shown, failed)


def _best(tables: Tables, works: Sequence[int], num_settings: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The winner and those that cannot be told from it; where the noise is unknown, the best few and nobody."""
    answer = best_set(tables)
    if answer is None or answer.noise_from == "unknown":
        return tuple(works[: max(1, min(NUM_BEST, num_settings // 4))]), ()
    kept = set(works)
    members = [trial for trial in answer.members if trial in kept]
    return tuple(members[:1] or works[:1]), tuple(members[1:])


def _why(cause: str, metric: str | None) -> str:
    words = WORDS.get(cause, cause.replace("_", " "))
    return f"{words}, by {metric}" if metric else words


@dataclass(frozen=True)
class Counts:
    """How many settings were tried (trials where none is repeated), how many of them failed, and how many crashed."""

    tried: int
    failed: int
    crashed: int


def counts(tables: Tables, arm: str | None = None) -> Counts:
    """Of an arm, or of all, as the findings count: a setting fails where a repeat of it does; a crash is no trial."""
    failed = list(standing(tables).failed)
    tried, num_failed = 0, 0
    for name in tables.arms if arm is None else (arm,):
        settings = setting_of_trials(tables, name).group_by("setting").agg(pl.col("trial").is_in(failed).any())
        tried, num_failed = tried + len(settings), num_failed + int(settings["trial"].sum())
    trials = tables.trials if arm is None else tables.of_arm(arm)
    return Counts(tried, num_failed, len(trials.filter(status="crashed")))
