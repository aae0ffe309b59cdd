"""Hydra's side of a Bayesian search: the words of the study that it goes on from come before those that are typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString

from hydra_plugins.quasi_random_sweeper._core import Invocation, StudySweep
from playbook.bayesian.ending import ending
from playbook.bayesian.proposals import propose
from playbook.bayesian.start import Start, read_start, with_start
from playbook.errors import InputError
from playbook.study.bayesian import Bayesian
from playbook.study.design import Design
from playbook.study.overrides import as_override
from playbook.study.session import Proposer
from playbook.study.space import Dimension, Value
from playbook.study.study_files import Outcome, read_study

MOST_AT_ONCE = 4
"""Points proposed at a time unless `study.parallel` says more: each is chosen without the results of the others."""


class BayesianSweep(StudySweep):
    """One call of the sweeper."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._start: Start | None = None
        self._begun: Bayesian | None = None
        if self._config.start and not self._config.name:
            name = f"{Path(self._config.start).resolve().name}-bayesian"
            self._config = self._config.model_copy(update={"name": name})

    def run(self, arguments: list[str], invocation: Invocation | None = None) -> float | None:
        """As of any study; and what is to be typed next, when its trials have ended."""
        best = super().run(arguments, invocation)
        is_quiet = invocation is not None and invocation.quiet
        if self.folder is not None and not self._config.dry_run and not is_quiet:
            print("".join(f"{line}\n" for line in ending(self.folder)), end="")
        return best

    def _read(self, arguments: Sequence[str]) -> tuple[list[str], dict[str, Dimension]]:
        words, sweeps = super()._read(arguments)
        if self._config.start is None:
            return words, sweeps
        self._refuse_another_space()
        typed = _values(words)
        there = read_study(Path(self._studies_dir) / str(self._config.name))
        if there is not None and there.design.bayesian is not None:  # what it began with is in its own file
            design, self._begun = there.design, replace(there.design.bayesian, start=self._config.start)
            own, space = list(design.overrides), dict(design.arms[0].space)
        else:
            self._start = read_start(self._config.start, typed, sweeps)
            design = self._start.study.design
            own = [*design.overrides, *(as_override(key, value) for key, value in self._start.fixed.items())]
            space = dict(self._start.space)
        if not any(key.partition(".")[0] == "objective" for key in typed):
            self._objective = design.objective
        own = [word for word in own if not set(_values([word])) & {*typed, *sweeps}]
        return [*own, *words], {**{key: each for key, each in space.items() if key not in typed}, **sweeps}

    def _refuse_another_space(self) -> None:
        spaces = ("scientific", "cases", "nuisance", "conditional", "repeat", "trials")
        for key in spaces:
            if getattr(self._config, key):
                raise InputError(
                    f"study.{key}: study.start={self._config.start} has the space; leave study=… out, and sweep the"
                    " keys that are to have another range"
                )

    def _proposer(self, num_workers: int | None) -> Proposer:
        parallel = self._config.parallel or min(num_workers or 1, MOST_AT_ONCE)
        return _Proposer(self._start, self._begun, parallel)


class _Proposer:
    """`parallel` trials at a time, all repeats of a point together; `begun` is what its study began with, if it has."""

    def __init__(self, start: Start | None, begun: Bayesian | None, parallel: int) -> None:
        self._start = start
        self._begun = begun
        self._parallel = parallel

    def begun(self, design: Design) -> Design:
        return with_start(design, self._start) if self._begun is None else replace(design, bayesian=self._begun)

    def proposed(self, design: Design, ended: Sequence[Outcome]) -> Design:
        (arm,) = design.arms
        return propose(design, ended, max(1, self._parallel // len(arm.repeats)))


def _values(words: Sequence[str]) -> dict[str, Value]:
    """What words give their keys; of one that takes a key away None."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    values = {each.get_key_element().lstrip("+~"): each.value() for each in parsed}
    return {key: value.text if isinstance(value, QuotedString) else value for key, value in values.items()}
