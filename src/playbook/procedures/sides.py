"""A configuration that a procedure trains again, however it was named: a run, a study's winner, or overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playbook.analysis.repeats import trained_settings
from playbook.analysis.rules.best import best, is_level
from playbook.analysis.study import load_study
from playbook.config import NOT_PART_OF_A_TRIAL, Config, read_config
from playbook.errors import InputError
from playbook.procedures.run_overrides import overrides_of
from playbook.run_files import CONFIG, RESULT, read_result
from playbook.study.load import load_record
from playbook.study.overrides import override_key, trial_overrides
from playbook.study.study_files import STUDY
from playbook.trial_config import compose
from playbook.validation import show

NOISE = ("seed", "data.split_seed")
"""What a repeat differs in, and never the configuration."""
_OF_THE_MACHINE = (*NOT_PART_OF_A_TRIAL, "trainer.num_threads", "trainer.device")
EXAMPLE = "a run's folder, a study's folder (its winner) or overrides such as '[\"lr=0.1\"]'"


@dataclass(frozen=True)
class Side:
    """`words` compose its `config`; `used` has the values of `NOISE` that had a part in choosing it.

    `of_study` are the objectives of the study that it won, best first, empty where it is no study's.
    """

    given: str
    words: tuple[str, ...]
    config: Config
    used: Mapping[str, frozenset[int]] = field(default_factory=dict)
    of_study: tuple[float, ...] = ()

    @property
    def identity(self) -> dict[str, Any]:
        """What it computes, whatever the seed and the split."""
        left_out = (*NOISE, "trainer.num_threads", "trainer.device")
        return {key: value for key, value in self.config.identity().items() if key not in left_out}


def read_side(name: str, given: str | Path | Sequence[str], both: Sequence[str] = ()) -> Side:
    """The side `name` (candidate, incumbent) that was given so, with the overrides of `both`.

    Raises:
        InputError: one line: there is no such folder, the run has not ended or did not train, the study has no winner,
            or the overrides are refused.
    """
    if isinstance(given, str | Path):
        return _of_folder(name, Path(given), both)
    if not all(isinstance(word, str) for word in given):
        raise InputError(f"{name}={show(list(given))}: allowed is {EXAMPLE}")
    shown = show(list(given))
    return Side(shown, tuple(given), _composed(f"{name}={shown}", [*given, *both]))


def _of_folder(name: str, folder: Path, both: Sequence[str]) -> Side:
    shown = f"{name}={folder}"
    if not folder.is_dir():
        raise InputError(f"{shown}: there is no such folder; allowed is {EXAMPLE}")
    if (folder / STUDY).exists():
        return _of_study(shown, folder, both)
    if (folder / CONFIG).exists() or (folder.parent / STUDY).exists():
        return _of_run(shown, folder, both)
    raise InputError(f"{shown}: neither a run ({CONFIG}) nor a study ({STUDY}); allowed is {EXAMPLE}")


def _of_study(shown: str, folder: Path, both: Sequence[str]) -> Side:
    tables = load_study(folder).tables()
    winner = best(tables)
    if winner is None:
        raise InputError(f"{shown}: the study has no winner: none of its trials is complete")
    if is_level(tables):
        raise InputError(f"{shown}: the study has no winner: all of its trials have one {tables.objective.metric}")
    objectives = tuple(tables.sign * each.loss for each in trained_settings(tables))
    return _of_trial(shown, folder, winner.trial, both, objectives)


def _of_run(shown: str, folder: Path, both: Sequence[str]) -> Side:
    result = read_result(folder)
    if result is None:
        raise InputError(f"{shown}: the run has not ended ({RESULT} is missing); the command that began it goes on")
    if result.status != "complete":
        raise InputError(f"{shown}: the run was {result.status} ({result.reason}); there is nothing to adopt")
    if (folder.parent / STUDY).exists() and folder.name.startswith("trial_"):
        number = int(folder.name.removeprefix("trial_"))
        return _of_trial(shown, folder.parent, number, both, ())
    plain = read_config(folder / CONFIG)
    words = tuple(_kept(overrides_of(plain, shown)))
    used = {key: frozenset({value}) for key in NOISE if (value := _at(plain, key)) is not None}
    return Side(shown.partition("=")[2], words, _composed(shown, [*words, *both]), used)


def _of_trial(shown: str, folder: Path, number: int, both: Sequence[str], of_study: tuple[float, ...]) -> Side:
    """A trial of a study. Whatever seeds the study has, they chose it."""
    record = load_record(folder)
    trials = {trial.number: trial for trial in record.design.trials(record.file.n_trials)}
    words = tuple(_kept(trial_overrides(record.design, trials[number].settings)))
    used: dict[str, set[int]] = {key: set() for key in NOISE}
    for trial in trials.values():
        for key in NOISE:
            value = trial.settings.get(key, record.design.fixed.get(key))
            if isinstance(value, int):
                used[key].add(value)
    config = _composed(shown, [*words, *both])
    return Side(shown.partition("=")[2], words, config, {key: frozenset(used[key]) for key in NOISE}, of_study)


def _composed(shown: str, words: Sequence[str]) -> Config:
    try:
        config = compose(*words)
    except InputError as error:
        raise InputError("\n".join(f"{shown}: {line}" for line in str(error).splitlines())) from None
    if config.fold_validation:
        raise InputError(f"{shown}: it is trained on the validation split too, and nothing is left to compare it on")
    return config


def _kept(words: Sequence[str]) -> Iterator[str]:
    """The words but those that say where a trial runs, and its seed."""
    for word in words:
        key = override_key(word)
        if key not in NOISE and not f"{key}.".startswith(tuple(f"{each}." for each in _OF_THE_MACHINE)):
            yield word


def _at(plain: Mapping[str, Any], key: str) -> Any:
    value: Any = plain
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
