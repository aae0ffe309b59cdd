"""What a comparison says, before it is a page, a file or a screen."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from playbook.procedures.sequential_test import THRESHOLDS, Look, Verdict
from playbook.text import brief, count


@dataclass(frozen=True)
class Pair:
    """The objectives of a repeat of each, None where it was infeasible, and the noise that they share."""

    candidate: float | None
    incumbent: float | None
    seed: int | None = None
    split_seed: int | None = None


@dataclass(frozen=True)
class Compared:
    """A side: how it was given, its override words, and the noise of the study that it won.

    `study_sd` is the standard deviation that the best of that study's trials would have were its trials drawn anew.
    """

    given: str
    overrides: tuple[str, ...] = ()
    study_sd: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A candidate against an incumbent: the verdict of the last look, and what it rests on.

    `examples_se` is the standard error of the effect over the validation examples: what another validation set of this
    size would change, which no repeat on the same one shows. `next` is the command to type next, `command` that of
    this comparison, `study` the folder of the repeats, None where they came from a file.
    """

    name: str
    metric: str
    mode: Literal["min", "max"]
    margin: float
    alpha: float
    vary: str
    max_repeats: int
    candidate: Compared
    incumbent: Compared
    pairs: tuple[Pair, ...]
    looks: tuple[Look, ...]
    next: str
    command: str
    page: str
    study: str | None = None
    examples_se: float | None = None
    n_examples: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def last(self) -> Look:
        """The look that the verdict is of."""
        return self.looks[-1]

    @property
    def verdict(self) -> Verdict:
        """`adopt`, `keep` or `cannot tell`."""
        return self.last.verdict

    @property
    def answer(self) -> str:
        """The answer in words, with its uncertainty."""
        return " ".join([_verdict(self), *_effect(self), *_what_would_tell(self)])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to have in mind beside the answer."""
        return (*_remarks(self), *self.notes)

    def plain(self) -> dict[str, Any]:
        """What `result.json` holds."""
        last = self.last
        return {
            "verdict": self.verdict,
            "answer": self.answer,
            "remarks": list(self.remarks),
            "next": self.next,
            "metric": self.metric,
            "mode": self.mode,
            "effect": last.effect,
            "interval": None if last.low is None else [last.low, last.high],
            "confidence": 1 - self.alpha,
            "margin": self.margin,
            "p_better": last.p_better,
            "p_one_better": last.p_one_better,
            "detectable": last.detectable,
            "needed": last.needed,
            "repeats": last.repeats[0] if last.repeats[0] == last.repeats[1] else list(last.repeats),
            "max_repeats": self.max_repeats,
            "infeasible": {"candidate": last.infeasible[0], "incumbent": last.infeasible[1]},
            "by": last.by,
            "vary": self.vary,
            "examples_se": self.examples_se,
            "n_examples": self.n_examples,
            "candidate": _side(self.candidate, [pair.candidate for pair in self.pairs]),
            "incumbent": _side(self.incumbent, [pair.incumbent for pair in self.pairs]),
            "pairs": [vars(pair) for pair in self.pairs],
            "looks": [
                {"repeats": each.repeats[0], "effect": each.effect, "low": each.low, "high": each.high}
                | {"verdict": each.verdict}
                for each in self.looks
            ],
            "command": self.command,
            "study": self.study,
        }


def sd_of_best(objectives: Sequence[float], mode: Literal["min", "max"]) -> float | None:
    """The standard deviation of the best of as many trials drawn from these, with replacement: exactly, by ranks.

    What re-running a study with other points would do to its winner (Bouthillier et al. 2021), as far as its own trials
    can say; None for fewer than three.
    """
    num = len(objectives)
    if num < 3:
        return None
    best_first = sorted(objectives, reverse=mode == "max")
    chances = [((num - place) / num) ** num - ((num - place - 1) / num) ** num for place in range(num)]
    mean = sum(chance * value for chance, value in zip(chances, best_first, strict=True))
    return math.sqrt(sum(chance * (value - mean) ** 2 for chance, value in zip(chances, best_first, strict=True)))


def _side(side: Compared, objectives: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in objectives if value is not None]
    return {
        "given": side.given,
        "overrides": list(side.overrides),
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "study_sd": side.study_sd,
    }


def _verdict(comparison: Comparison) -> str:
    margin = f" by more than {brief(comparison.margin)}" if comparison.margin else ""
    if comparison.verdict == "adopt":
        return f"Adopt the candidate: its {comparison.metric} is better{margin}."
    if comparison.verdict == "keep":
        worse = f"is not better{margin}" if margin else "is worse"
        return f"Keep the incumbent: the candidate's {comparison.metric} {worse}."
    if min(comparison.last.repeats) < THRESHOLDS.fewest:
        return f"Cannot tell, because there are fewer than {THRESHOLDS.fewest} repeats of each."
    return f"Cannot tell, because what was seen could be the luck of {_luck(comparison.vary)}."


def _luck(vary: str) -> str:
    return {"split": "the split", "both": "seeds and splits"}.get(vary, "the seeds")


def _effect(comparison: Comparison) -> list[str]:
    last = comparison.last
    repeats = f"{count(min(last.repeats), 'repeat')} of each"
    if last.repeats[0] != last.repeats[1]:
        repeats = f"{last.repeats[0]} repeats against {last.repeats[1]}"
    said = []
    if any(last.infeasible):
        said.append(
            f"Of {repeats}, {last.infeasible[0]} of the candidate's and {last.infeasible[1]} of the incumbent's were"
            " infeasible, which counts as worst: the verdict is by ranks."
        )
    if last.effect is not None:
        effect = f"The candidate is {signed(last.effect)}"
        if last.low is not None and last.high is not None:
            effect += f" ({100 * (1 - comparison.alpha):.4g} % interval: {between(last.low, last.high)}; it holds at"
            effect += f" every look) after {repeats}"
        elif any(last.infeasible):
            effect += " where both trained"
        said.append(f"{effect}.")
    if last.p_better is not None and last.p_one_better is not None:
        said.append(
            f"P(better) is {_probability(last.p_better)}; one run of it beats one of the incumbent's in"
            f" {100 * last.p_one_better:.0f} %."
        )
    return said


def signed(effect: float) -> str:
    """`0.02 better`, `0.01 worse`."""
    if effect == 0:
        return "equal"
    return f"{brief(abs(effect))} {'better' if effect >= 0 else 'worse'}"


def between(low: float, high: float) -> str:
    """`0.01 to 0.03 better`, `0.01 worse to 0.02 better`."""
    if low * high < 0:
        return f"{signed(low)} to {signed(high)}"
    ends = sorted([abs(low), abs(high)])
    return f"{brief(ends[0])} to {brief(ends[1])} {'better' if low >= 0 else 'worse'}"


def _what_would_tell(comparison: Comparison) -> list[str]:
    last, said = comparison.last, []
    if last.detectable is not None and last.detectable > 0:
        beyond = " beyond the margin" if comparison.margin else ""
        said.append(f"So many repeats would show an effect of {brief(last.detectable)}{beyond} in 4 of 5 cases.")
    if comparison.verdict != "cannot tell" or last.above_margin is None:
        return said
    more = None if last.needed is None else last.needed - min(last.repeats)
    if more is None:
        bound = max(abs(last.low), abs(last.high)) if last.low is not None and last.high is not None else None
        within = "" if bound is None else f": they differ by less than {brief(bound)} either way"
        said.append(f"More than {THRESHOLDS.most} repeats of each would be needed{within}.")
    elif more > 0:
        said.append(f"If the effect is as large as it looks, {more} more of each would tell.")
    else:
        said.append("If the effect is as large as it looks, a few more of each would tell.")
    return said


def _remarks(comparison: Comparison) -> list[str]:
    said, last = [], comparison.last
    left = comparison.max_repeats - min(last.repeats)
    if comparison.study is not None and left > 0 and last.is_futile(comparison.max_repeats):
        chance = last.chance_to_tell(comparison.max_repeats)
        said.append(
            f"Stopped early: {count(left, 'more repeat')} of each, as far as max_repeats={comparison.max_repeats}"
            f" allows, would tell with a chance of {_percent(chance)}."
        )
    if last.by == "objective" and all(pair.candidate == pair.incumbent for pair in comparison.pairs):
        said.append("Every repeat had the same objective with both: what differs between them did nothing here.")
    if comparison.examples_se and last.effect is not None and comparison.verdict == "adopt":
        beyond = last.effect > 2 * comparison.examples_se
        said.append(
            f"On another validation set of {comparison.n_examples} examples the effect would be another one: its"
            f" standard error over the examples is {brief(comparison.examples_se)}"
            + ("." if beyond else ", so that this one could be theirs: vary=both tries other splits too.")
        )
    for name, side in (("candidate", comparison.candidate), ("incumbent", comparison.incumbent)):
        if side.study_sd is not None:
            said.append(
                f"Another run of the study that the {name} won would have ended with a best trial that is"
                f" {brief(side.study_sd)} (sd) better or worse, by resampling its trials."
            )
    return said


def _percent(chance: float) -> str:
    return "less than 1 %" if chance < 0.01 else f"{100 * chance:.0f} %"


def _probability(value: float) -> str:
    if value > 0.999:
        return "above .999"
    return "below .001" if value < 0.001 else f"{value:.3f}".lstrip("0")
