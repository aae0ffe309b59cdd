"""Worker processes of data.num_workers=auto: where a batch takes long to make, and the numbers do not depend on it."""

from __future__ import annotations

import sys

import pytest
from run_state import final_state

from playbook.data import Digits, StepLoader
from playbook.training import num_workers as rule
from playbook.training.distributed import Rank

SETTINGS = {"batch_size": 8, "seed": 0, "num_steps": 3}


@pytest.fixture
def made_in(monkeypatch):
    """Batches that take so many seconds, on a machine of eight cores."""

    def patch(*seconds: float) -> None:
        left = iter(seconds)
        monkeypatch.setattr(rule, "_seconds", lambda loader: next(left))
        monkeypatch.setattr(rule.os, "cpu_count", lambda: 8)

    return patch


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are not forked, and auto is none")
@pytest.mark.parametrize(
    ("seconds", "world_size", "expected"),
    [
        ((0.001,), 1, 0),
        ((0.1, 0.1, 0.001), 1, 0),  # the first batch may open files
        ((0.1, 0.1, 0.1), 1, 4),
        ((0.1, 0.1, 0.1), 2, 3),
        ((0.1, 0.1, 0.1), 8, 1),
    ],
)
def test_auto_is_none_where_a_batch_is_quickly_made(made_in, seconds, world_size, expected):
    source = Digits(in_memory=False)
    made_in(*seconds)
    loader = StepLoader(source.load("train"), **SETTINGS)
    assert rule.num_workers_for(source, loader, Rank(0, world_size)) == expected


def test_data_in_memory_and_a_number_that_is_given_are_not_measured(made_in):
    made_in()
    for source, expected in ((Digits(), 0), (Digits(in_memory=False, num_workers=3), 3)):
        assert rule.num_workers_for(source, StepLoader(source.load("train"), **SETTINGS), Rank()) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are not forked, and auto is none")
def test_the_numbers_of_a_trial_do_not_depend_on_it(run_trial, tmp_path, made_in, monkeypatch):
    run_trial("data.in_memory=false", "data.num_workers=0", folder="none")
    made_in(1, 1, 1)
    monkeypatch.setattr(rule.os, "cpu_count", lambda: 2)
    run_trial("data.in_memory=false", folder="some")
    none, some = (final_state(tmp_path / name) for name in ("none", "some"))
    assert none.keys() == some.keys()
    assert all(none[name] == some[name] for name in none if name.endswith(".csv"))
