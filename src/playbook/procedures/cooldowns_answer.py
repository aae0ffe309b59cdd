"""What cooldowns say: how long is worth it in words, what it cost, what to type next, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt

from playbook.config import Config
from playbook.errors import InputError
from playbook.procedures.call import Answer, Call, Evidence, Options
from playbook.procedures.cooldowns_charts import Branch, cooldowns_charts
from playbook.procedures.lengths import Reading
from playbook.run_files import Result
from playbook.study.overrides import as_override, shell_line
from playbook.text import count, number
from playbook.trial_config import compose

NUM_COMMITS = 8
"""Lengths of a run that is trained for them: eight with a decay of 20 % cost 1.7 times the longest run, not 4.5."""


class CooldownsOptions(Options):
    """The keys of `scripts/cooldowns.py`."""

    EXTENDS = frozenset({"margin"})

    run_dir: str | None = Field(
        default=None, description="a run at a constant rate with kept commits; null: train one first"
    )
    steps: list[PositiveInt] = Field(default=[], description="the kept commits to branch off; empty: all")
    decay: float = Field(default=0.2, gt=0, le=0.9, description="the share of a run that decays")
    shape: Literal["linear", "cosine", "sqrt", "square"] = Field(
        default="sqrt", description="of the decay: see schedule=wsd"
    )
    margin: float = Field(default=0.0, ge=0, description="the least effect that counts, in units of the objective")


@dataclass(frozen=True)
class Trunk:
    """The run in `folder`: the words that compose it, its kept commits, and how it ended."""

    folder: Path
    config: Config
    words: tuple[str, ...]
    commits: list[int]
    result: Result


def default_commits(config: Config) -> list[int]:
    """Evenly spread over the steps after warmup, each an evaluation."""
    warmup, every = config.warmup_steps, config.eval_every
    spread = [warmup + config.max_steps * part / NUM_COMMITS for part in range(1, NUM_COMMITS + 1)]
    found = sorted({int(every * (step // every)) for step in spread})
    found = [step for step in found if step > warmup]
    if len(found) < 2:
        raise InputError(
            f"eval_every={every}: a commit is the end of an evaluation, and there are {len(found)} to branch off in"
            f" max_steps={config.max_steps}; evaluate more often"
        )
    return found


def answer_of(
    call: Call[CooldownsOptions], trunk: Trunk, branches: Sequence[Branch], reading: Reading, decay: Sequence[str]
) -> Answer:
    metric, known = trunk.config.objective.metric, [each for each in branches if each.length.loss is not None]
    remarks = [_cost(trunk, branches)]
    if failed := [f"{each.length.steps:,}" for each in branches if each.length.loss is None]:
        remarks.append(f"Infeasible, and left out: {', '.join(failed)} steps.")
    if reading.outlook is not None:
        found = reading.outlook
        remarks.append(
            f"If the trend goes on, twice the longest gains {number(found.gain)} ({number(found.low)} to"
            f" {number(found.high)}) in {metric}."
        )
    else:
        remarks.append(f"What longer would bring cannot be told, because {reading.why_no_outlook}.")
    highs = [each.high for each in reading.differences if each.high is not None]
    if reading.enough is None and highs and max(highs) > 0 and reading.verdict == "cannot tell":
        remarks.append(
            f"None of them is worse by more than {number(max(highs))}: where that does not matter,"
            f" margin={float(f'{1.1 * max(highs):.2g}')} says which is enough."
        )
    remarks.append("All branches share one seed: what another would do to all of them is not in the intervals (G9).")
    overrides = None
    if reading.enough is not None:
        overrides = (*decay, f"max_steps={reading.enough}")
        chosen = next(each for each in known if each.length.steps == reading.enough)
        remarks.append(f"The run of {reading.enough:,} steps is there: {chosen.folder}")
    return Answer(
        verdict=reading.verdict,
        answer=_sentence(reading, known, metric),
        next=_next(call, trunk, reading, decay),
        remarks=tuple(remarks),
        overrides=overrides,
        evidence=_plain(trunk, branches, reading),
    )


def _sentence(reading: Reading, known: Sequence[Branch], metric: str) -> str:
    shown = [_shown(each.worse, each.low, each.high) for each in reading.differences]
    if not reading.differences:
        return f"Cannot tell how long is worth it, because {count(len(known), 'length')} did train."
    longest, first, last = known[-1].length.steps, reading.differences[0], reading.differences[-1]
    if reading.verdict == "longer":
        return (
            f"The longest, {longest:,} steps, is worth it: {last.steps:,} are worse by {shown[-1]} in {metric}. How"
            " long is enough lies beyond it."
        )
    if reading.enough is None and first.low is None:
        return (
            f"Cannot tell how long is worth it, because the noise of a difference in {metric} is not known: the"
            f" shortest, {first.steps:,} steps, is worse than the longest, {longest:,}, by {shown[0]}."
        )
    if reading.enough is None:
        return (
            f"Cannot tell how long is worth it, because the shortest, {first.steps:,} steps, may be as good as the"
            f" longest, {longest:,}: worse by {shown[0]} in {metric}."
        )
    place = [each.steps for each in reading.differences].index(reading.enough)
    at_most = max(each.high or 0.0 for each in reading.differences[place:])
    shorter = reading.differences[place - 1]
    before = f"{shorter.steps:,} are worse than the longest, {longest:,}, by {shown[place - 1]}; " if place else ""
    return (
        f"Train {reading.enough:,} steps or more: {before}from {reading.enough:,} on none is surely worse than"
        f" {longest:,}, by at most {number(at_most)} in {metric}."
    )


def _shown(worse: float, low: float | None, high: float | None) -> str:
    return number(worse) + ("" if low is None else f" ({number(low)} to {number(high)})")


def _cost(trunk: Trunk, branches: Sequence[Branch]) -> str:
    whole = sum(each.total for each in branches)
    spent = trunk.result.steps + sum(each.total - each.commit for each in branches)
    longest = max(each.total for each in branches)
    return (
        f"{count(len(branches), 'length')} cost {spent:,} steps, {spent / longest:.2g} times the longest run; one run a"
        f" length from step 0 would cost {whole:,}, {whole / longest:.2g} times."
    )


def _next(call: Call[CooldownsOptions], trunk: Trunk, reading: Reading, decay: Sequence[str]) -> str:
    if reading.enough is not None:
        return call.train_command(*decay, f"max_steps={reading.enough}")
    config = trunk.config
    if reading.verdict == "cannot tell":  # the same question, where the luck of the seed is another
        kept = [word for word in call.words if not word.startswith(("seed=", "trainer.num_threads="))]
        options = [word for word in call.options.typed() if not word.startswith(("run_dir=", "steps="))]
        return shell_line("python", "scripts/cooldowns.py", *kept, *options, f"seed={config.seed + 1}")
    more = default_commits(compose(*call.words, f"max_steps={2 * config.max_steps}"))
    last = max(trunk.commits)
    goes_on = last == config.total_steps and last % config.eval_every == 0
    words = [f"max_steps={2 * config.max_steps}", "schedule=constant"]
    if goes_on:
        words.append(as_override("continue_from", str(trunk.folder)))
        more = [step for step in more if step > last]
    return call.train_command(*words, as_override("keep_commits", more))


def _plain(trunk: Trunk, branches: Sequence[Branch], reading: Reading) -> dict[str, Any]:
    apart = {each.steps: each for each in reading.differences}
    rows = []
    for each in branches:
        length, result, by = each.length, each.result, apart.get(each.length.steps)
        rows.append(
            {
                "max_steps": length.steps,
                "branched_at": each.commit,
                "objective": result.objective if result else None,
                "objective_se": result.objective_se if result else None,
                "best_step": result.best_step if result else None,
                "worse_than_longest": by.worse if by else None,
                "interval": [by.low, by.high] if by and by.low is not None else None,
                "folder": str(each.folder),
            }
        )
    found = reading.outlook
    twice = None if found is None else {"gain": found.gain, "interval": [found.low, found.high]}
    return {
        "run_dir": str(trunk.folder),
        "lengths": rows,
        "enough": reading.enough,
        "scatter": reading.scatter,
        "twice_the_longest": twice,
    }


def evidence_of(call: Call[CooldownsOptions], trunk: Trunk, branches: Sequence[Branch], reading: Reading) -> Evidence:
    apart = {each.steps: each for each in reading.differences}
    rows = []
    for each in branches:
        by, result = apart.get(each.length.steps), each.result
        rows.append(
            (
                f"{each.length.steps:,}",
                f"{each.commit:,}",
                number(result.objective) if result and result.objective is not None else "infeasible",
                "–" if result is None or result.best_step is None else f"{result.best_step:,}",
                "–" if by is None else _shown(by.worse, by.low, by.high),
            )
        )
    spent = trunk.result.steps + sum(each.total - each.commit for each in branches)
    numbers = [
        (reading.verdict, "verdict"),
        ("–" if reading.enough is None else f"{reading.enough:,}", "steps are enough"),
        (str(len(branches)), "lengths"),
        (f"{spent:,}", "steps trained"),
        (f"{sum(each.total for each in branches):,}", "from step 0 each"),
        (number(reading.scatter), "scatter of a length"),
    ]
    head = ("max_steps", "branched off at", trunk.config.objective.metric, "best at step", "worse than the longest by")
    charts = cooldowns_charts(trunk.folder, branches, reading, trunk.config.objective)
    return Evidence("How long is worth training?", numbers, charts, "Every length", (head, rows))
