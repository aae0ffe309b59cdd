"""A study whose files were replaced between its trials says so."""

import numpy as np
import pytest

from playbook.run_files import Result
from playbook.study.design import Trial
from playbook.study.same_data import other_data
from playbook.study.study_files import Outcome

INPUTS = np.random.default_rng(0).normal(size=(60, 4))
CLASSES = np.arange(60) % 3
STUDY = [
    *("-m", "data=arrays", "data.path=mine.npz", "lr=tag(log,interval(1e-3,1e-1))", "study.name=mine"),
    *("max_steps=4", "eval_every=2", "model.width=8", "logger=none", "trainer.device=cpu", "batch_size=8"),
]


def ended(number: int, data: str | None, **settings: object) -> Outcome:
    """A trial that saw the data of this fingerprint, None before there was one."""
    environment = {"torch": "2"} | ({} if data is None else {"data": data})
    result = Result(*("complete", 0.1, 4, 0.1, 4, 1.0, {}, 0, "val/error", "min"), environment=environment)
    return Outcome(Trial(number=number, arm="all", settings=settings), "complete", result)


def crashed(number: int) -> Outcome:
    return Outcome(Trial(number=number, arm="all", settings={}), "crashed")


@pytest.mark.parametrize(
    ("trials", "others"),
    [
        ([], None),
        ([crashed(0), ended(1, "a"), ended(2, "a"), crashed(3)], None),
        ([ended(0, None), ended(1, "a"), ended(2, "a")], None),
        ([ended(1, "b"), ended(2, "a"), ended(0, "a")], "1 trials (1) saw"),
        ([ended(n, "a" if n < 3 else "b") for n in range(20)], "17 trials (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, …) saw"),
        ([ended(n, "ab"[n % 2], **{"data.split_seed": n % 2}) for n in range(4)], None),  # asked for
        ([ended(n, "abcb"[n], **{"data.split_seed": n % 2}) for n in range(4)], "1 trials (2) saw"),
    ],
)
def test_trials_that_saw_other_data_than_the_first(trials, others):
    line = other_data(trials)
    assert (line == "") if others is None else line.startswith(others)
    assert "\n" not in line


def test_a_study_that_is_extended_with_other_data_says_so(door, tmp_path):
    np.savez(tmp_path / "mine.npz", inputs=INPUTS, targets=CLASSES)
    first = door(*STUDY, "study.n_trials=2")
    assert first.code == 0
    assert "saw other data" not in first.out
    np.savez(tmp_path / "mine.npz", inputs=INPUTS, targets=CLASSES[::-1])
    second = door(*STUDY, "study.n_trials=3")
    assert second.code == 0
    assert "1 trials (2) saw other data than the first" in second.out
    page = (tmp_path / "outputs" / "studies" / "mine" / "report" / "index.html").read_text()
    assert "saw other data than the first" in page
