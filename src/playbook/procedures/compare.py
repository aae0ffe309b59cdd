"""Is the change real? Candidate and incumbent, retrained with new seeds until it is clear or enough (B11).

Nothing that chose the candidate is counted: its seeds were picked, or its study was. Repeats come in pairs that share a
fresh seed, as trials of a study, so that they are recorded, resume after a kill, and run on any launcher; after each
the verdict is looked at (`sequential_test`), which may be done as often as one likes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveInt
from rich.console import Console

from playbook.analysis.study import load_study
from playbook.composition import outside_of_scripts
from playbook.examples import Examples
from playbook.procedures.compare_files import write_comparison
from playbook.procedures.comparison import Compared, Comparison, Pair, between, sd_of_best, signed
from playbook.procedures.pairs import Pairs, Vary, caveats, pair_up
from playbook.procedures.sequential_test import THRESHOLDS, Look, look
from playbook.procedures.sides import Side, read_side
from playbook.studies import run_study
from playbook.study.load import load_record
from playbook.study.overrides import as_override, shell_line
from playbook.study.space import Value
from playbook.study.study_files import STUDY, Outcome
from playbook.text import brief
from playbook.validation import STRICT, validate

Given = str | Path | Sequence[str]


class Options(BaseModel):
    """How the two are compared: the keys of `conf/compare.yaml` beside the sides."""

    model_config = STRICT

    max_repeats: Annotated[int, Field(ge=THRESHOLDS.fewest, le=THRESHOLDS.most)] = 10
    margin: Annotated[float, Field(ge=0)] = 0.0
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    vary: Vary = "seed"
    pairs_at_once: PositiveInt = 1
    both: list[str] = []
    launcher: str | None = None
    output_root: str = "outputs"
    out_dir: str | None = None


def compare(
    candidate: Given,
    incumbent: Given,
    *,
    max_repeats: int = 10,
    margin: float = 0.0,
    alpha: float = 0.05,
    vary: Vary = "seed",
    pairs_at_once: int = 1,
    both: Sequence[str] = (),
    launcher: str | None = None,
    output_root: str = "outputs",
    out_dir: str | Path | None = None,
    quiet: bool = False,
) -> Comparison:
    """Train candidate and incumbent again until their objectives can be told apart, as `scripts/compare.py` does.

    Each is the folder of a run, the folder of a study (its winner), or a list of overrides over the defaults of
    `conf/`; `both` are overrides of both, which come last. `margin` is the least effect that is worth adopting, in
    units of the objective. `vary` says what a repeat differs in: the trial's seed, the split of the data, or both.
    `pairs_at_once` repeats of each are trained between two looks: as many as the `launcher` can run at a time. The same
    call goes on where it was stopped, and a larger `max_repeats` goes on from there.

    Raises:
        InputError: one line. Nothing has been written.
        CrashError: trials crashed; the same call runs them again.
    """
    options = validate(
        Options,
        {
            "max_repeats": max_repeats,
            "margin": margin,
            "alpha": alpha,
            "vary": vary,
            "pairs_at_once": pairs_at_once,
            "both": list(both),
            "launcher": launcher,
            "output_root": output_root,
            "out_dir": None if out_dir is None else str(out_dir),
        },
    )
    with outside_of_scripts():
        return _Procedure(candidate, incumbent, options, Console(quiet=quiet, highlight=False)).run()


@dataclass(frozen=True)
class _Repeats:
    """What has been trained so far: leading pairs of which both have ended, and how each trial ended."""

    pairs: tuple[Pair, ...]
    outcomes: Mapping[int, Outcome]


class _Procedure:
    """One call."""

    def __init__(self, candidate: Given, incumbent: Given, options: Options, console: Console) -> None:
        self._given = {"candidate": candidate, "incumbent": incumbent}
        self._options, self._console = options, console
        self._candidate, self._incumbent = (read_side(name, each, options.both) for name, each in self._given.items())
        self._pairs: Pairs = pair_up(self._candidate, self._incumbent, options.both, options.vary)
        self._objective = self._candidate.config.objective
        self._study = Path(options.output_root) / "studies" / f"compare-{self._pairs.fingerprint}"
        named = Path(options.output_root) / "compare" / self._pairs.fingerprint
        self._out_dir = named if options.out_dir is None else Path(options.out_dir)

    def run(self) -> Comparison:
        options = self._options
        say = self._console.print
        ours, theirs = map(_short, (self._pairs.candidate, self._pairs.incumbent))
        say(f"candidate: {ours}\nincumbent: {theirs}")
        if self._pairs.words:
            say(f"both: {' '.join(self._pairs.words)}")
        say(f"{self._objective.metric}, {self._objective.mode}imised; at most {options.max_repeats} repeats of each")
        repeats = self._repeats()
        while not repeats.pairs or self._look(repeats.pairs).verdict == "cannot tell":
            if len(repeats.pairs) >= options.max_repeats:
                break
            if repeats.pairs and self._look(repeats.pairs).is_futile(options.max_repeats):
                break
            wanted = max(THRESHOLDS.fewest, len(repeats.pairs) + options.pairs_at_once)
            self._train(min(wanted, options.max_repeats))
            before, repeats = len(repeats.pairs), self._repeats()
            for number in range(before, len(repeats.pairs)):
                say(self._line(number, repeats))
        comparison = self._comparison(repeats)
        write_comparison(comparison, self._out_dir, self._study)
        say()
        for line in (comparison.answer, *comparison.remarks):
            say(line)
        say(f"next: {comparison.next}", soft_wrap=True)
        return comparison

    def _train(self, num: int) -> None:
        study: dict[str, Any] = {
            "name": self._study.name,
            "goal": f"Is {_short(self._pairs.candidate)} better than {_short(self._pairs.incumbent)}?",
            "trials": self._pairs.trials(num),
        }
        words = [*self._pairs.words, f"output_root={self._options.output_root}"]
        with self._console.status(f"training up to repeat {num} of each"):
            run_study(*words, study=study, launcher=self._options.launcher, quiet=True, report=False)

    def _repeats(self) -> _Repeats:
        if not (self._study / STUDY).exists():
            return _Repeats((), {})
        outcomes = {each.trial.number: each for each in load_record(self._study).outcomes if each.result is not None}
        found: list[Pair] = []
        while 2 * len(found) in outcomes and 2 * len(found) + 1 in outcomes:
            ours, theirs = outcomes[2 * len(found)], outcomes[2 * len(found) + 1]
            noise = {key: ours.trial.settings.get(key) for key in ("seed", "data.split_seed")}
            found.append(Pair(_objective(ours), _objective(theirs), noise["seed"], noise["data.split_seed"]))
        return _Repeats(tuple(found), outcomes)

    def _look(self, pairs: Sequence[Pair]) -> Look:
        return look(
            [pair.candidate for pair in pairs],
            [pair.incumbent for pair in pairs],
            mode=self._objective.mode,
            margin=self._options.margin,
            alpha=self._options.alpha,
        )

    def _line(self, number: int, repeats: _Repeats) -> str:
        pair, seen = repeats.pairs[number], self._look(repeats.pairs[: number + 1])
        shown = ["infeasible" if value is None else brief(value) for value in (pair.candidate, pair.incumbent)]
        said = f"repeat {number + 1}: candidate {shown[0]}, incumbent {shown[1]}"
        if seen.effect is not None and seen.low is not None and seen.high is not None:
            said += f"; {signed(seen.effect)} ({between(seen.low, seen.high)})"
        return said

    def _comparison(self, repeats: _Repeats) -> Comparison:
        options, mode = self._options, self._objective.mode
        every_look = [self._look(repeats.pairs[:num]) for num in range(1, len(repeats.pairs) + 1)]
        examples_se, n_examples = self._noise_of_examples(repeats)
        return Comparison(
            name=self._pairs.fingerprint,
            metric=self._objective.metric,
            mode=mode,
            margin=options.margin,
            alpha=options.alpha,
            vary=options.vary,
            max_repeats=options.max_repeats,
            candidate=_compared(self._candidate, mode),
            incumbent=_compared(self._incumbent, mode),
            pairs=repeats.pairs,
            looks=tuple(every_look),
            next=self._next(every_look[-1]),
            command=self._command(options.max_repeats),
            page=str(self._out_dir / "index.html"),
            study=str(self._study),
            examples_se=examples_se,
            n_examples=n_examples,
            notes=tuple(caveats(self._candidate, self._incumbent)),
        )

    def _next(self, last: Look) -> str:
        """The command with the override to use: the winner's, or more repeats where they would tell."""
        if last.verdict == "cannot tell" and last.needed is not None:
            more = max(last.needed, last.repeats[0] + 1)
            if more <= THRESHOLDS.most:
                return self._command(more)
        chosen = self._candidate if last.verdict == "adopt" else self._incumbent
        return shell_line("python", "train.py", *chosen.words, *self._options.both)

    def _command(self, max_repeats: int) -> str:
        words = [f"{name}={_typed(given)}" for name, given in self._given.items()]
        typed = self._options.model_dump(exclude_defaults=True, exclude={"max_repeats"})
        words += [f"{key}={_typed(value) if isinstance(value, list) else value}" for key, value in typed.items()]
        return shell_line("python", "scripts/compare.py", *words, f"max_repeats={max_repeats}")

    def _noise_of_examples(self, repeats: _Repeats) -> tuple[float | None, int | None]:
        """The standard error of the effect over the validation examples, paired, and their number.

        None where the examples were not recorded, each pair has a split of its own, or the objective is not the mean of
        what they have to say.
        """
        if self._options.vary != "seed":
            return None, None
        examples = load_study(self._study).tables().examples
        differences = []
        for number in range(len(repeats.pairs)):
            ours, theirs = (self._at_its_best(repeats, examples, 2 * number + side) for side in (0, 1))
            if ours is not None and theirs is not None and ours.shape == theirs.shape:
                differences.append(theirs - ours)
        if not differences or len({len(each) for each in differences}) > 1 or len(differences[0]) < 2:
            return None, None
        of_example = np.mean(differences, axis=0)
        return float(of_example.std(ddof=1) / math.sqrt(len(of_example))), len(of_example)

    def _at_its_best(
        self, repeats: _Repeats, examples: Mapping[int, Examples], trial: int
    ) -> NDArray[np.float64] | None:
        """What the examples of a trial had to say when its objective was best, lower is better."""
        result, recorded = repeats.outcomes[trial].result, examples.get(trial)
        if result is None or result.best_step is None or result.objective is None or recorded is None:
            return None
        values = recorded.at(result.best_step)
        mean = result.objective if self._objective.mode == "min" else 1 - result.objective
        if values is None or not math.isclose(float(values.mean(dtype=np.float64)), mean, rel_tol=1e-3, abs_tol=1e-6):
            return None
        return values.astype(np.float64)


def _objective(outcome: Outcome) -> float | None:
    result = outcome.result
    return result.objective if result is not None and outcome.status == "complete" else None


def _compared(side: Side, mode: Literal["min", "max"]) -> Compared:
    return Compared(side.given, side.words, sd_of_best(side.of_study, mode))


def _short(settings: Mapping[str, Value]) -> str:
    """What a side has for itself; nothing where only the other one departs from the defaults."""
    return " ".join(as_override(key, value) for key, value in settings.items()) or "the defaults"


def _typed(given: Given) -> str:
    """A side as it is typed."""
    if isinstance(given, str | Path):
        return str(given)
    return "[" + ",".join("'" + word.replace("'", "\\'") + "'" for word in given) + "]"
