"""How often a trial that crashes is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from playbook.errors import InputError
from playbook.run_files import CHECKPOINTS, RESULT
from playbook.study.design import Design, Trial
from playbook.study.run_trials import run_missing
from playbook.study.space import Choice
from playbook.study.study_files import record_crash

TRIAL, OTHER = Design("s", nuisance={"lr": Choice((0.1, 0.2))}).trials(2)
RETRIES = 4


def attempts(folder: Path, crash: Callable[[Path, int], object]) -> int:
    """How often `TRIAL` is run, which ends with `crash(its folder, number of the attempt)`, beside one that is fine."""
    count = 0

    def launch(trials: Sequence[Trial]) -> list[BaseException | None]:
        nonlocal count
        for trial in trials:
            own = folder / trial.folder
            (own / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            if trial == TRIAL:
                count += 1
                crash(own, count)
            else:
                (own / RESULT).write_text("{}")
        return [None] * len(trials)

    run_missing(folder, [TRIAL, OTHER], launch, retries=RETRIES)
    return count


def test_a_crash_that_is_certain_is_not_tried_a_third_time(tmp_path: Path) -> None:
    assert attempts(tmp_path, lambda own, _: record_crash(own, ValueError("heads=3 does not divide width=8"))) == 2


@pytest.mark.parametrize("retries", [0, 1])
def test_nor_more_often_than_is_asked_for(tmp_path: Path, retries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_run_trials.RETRIES", retries)
    assert attempts(tmp_path, lambda own, _: record_crash(own, ValueError("always"))) == retries + 1


def test_a_refusal_is_certain_at_once(tmp_path: Path) -> None:
    assert attempts(tmp_path, lambda own, _: record_crash(own, InputError("lr=-1"))) == 1


def test_other_words_are_another_crash(tmp_path: Path) -> None:
    assert attempts(tmp_path, lambda own, count: record_crash(own, OSError(f"node {count % 2} is gone"))) == RETRIES + 1


def test_a_trial_that_gets_further_each_time_is_tried_again(tmp_path: Path) -> None:
    def crash(own: Path, count: int) -> None:
        (own / CHECKPOINTS / f"resume_{count:08d}.ckpt").touch()
        record_crash(own, RuntimeError("CUDA error"))

    assert attempts(tmp_path, crash) == RETRIES + 1


def test_what_dies_without_a_word_is_tried_again(tmp_path: Path) -> None:
    assert attempts(tmp_path, lambda own, count: None) == RETRIES + 1
