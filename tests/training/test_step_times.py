"""Steps are timed by a clock that counts their work: a forward pass of B examples, and a loader that is slow."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from playbook.config import Config
from playbook.errors import InputError
from playbook.models import MLP
from playbook.training import throughput
from playbook.training.throughput import MOST_JUDGED, Request, measure


class Machine:
    """A clock that goes on by the work of the model, and of the data, alone."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.fixed, self.each, self.wait = 1.0, 0.5, 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    from playbook.data import loader

    clock, forward, batch = Machine(), MLP.forward, loader._StepBatches.__getitem__

    def working(self, inputs):
        clock.seconds += (clock.fixed + clock.each * len(inputs)) * self.training
        return forward(self, inputs)

    def fetching(self, step):
        found = batch(self, step)
        clock.seconds += clock.wait * len(found.inputs)
        return found

    monkeypatch.setattr(MLP, "forward", working)
    monkeypatch.setattr(loader._StepBatches, "__getitem__", fetching)
    monkeypatch.setattr(loader, "perf_counter", clock)
    monkeypatch.setattr(throughput, "clock", clock)
    return clock


@pytest.fixture
def request_of(trial_config: Callable[..., Config]) -> Callable[..., Request]:
    def of(*words: str, budget: int | None = None) -> Request:
        plain = replace(trial_config("data=digits", "model.width=8", *words), output_dir=None).plain()
        return Request(plain, num_blocks=3, block_seconds=50.0, most_seconds=1e9, budget=budget)

    return of


def test_seconds_of_a_step_and_of_waiting_are_those_of_the_machine(machine: Machine, request_of) -> None:
    machine.wait = 0.25
    found = measure(request_of("lr=100.0", "max_steps=2"), 16)  # neither divergence nor the end of the run stops it
    assert found.status == "complete"
    assert found.seconds == pytest.approx((1 + 0.5 * 16 + 0.25 * 16,) * 3)
    assert found.waits == pytest.approx((0.25 * 16,) * 3)
    assert found.num_examples == 1168
    assert found.peak_bytes is not None
    assert found.peak_bytes > 1e7


def test_steps_that_take_long_are_few(machine: Machine, request_of) -> None:
    machine.each = 100.0
    found = measure(replace(request_of(), most_seconds=1.0), 4)
    assert len(found.seconds) == 2


def test_running_out_of_memory_is_an_answer(machine: Machine, request_of, monkeypatch) -> None:
    def no_memory(self, inputs):
        if self.training and len(inputs) > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes.")
        return forward(self, inputs)

    forward = MLP.forward
    monkeypatch.setattr(MLP, "forward", no_memory)
    assert measure(request_of(), 8).status == "complete"
    found = measure(request_of(), 16)
    assert found.status == "out_of_memory"
    assert "allocate" in found.message


def test_what_is_above_the_budget_does_not_fit(machine: Machine, request_of) -> None:
    found = measure(request_of(budget=10_000_000), 8)  # Python alone takes more
    assert found.status == "out_of_memory"
    assert "0.01 GB" in found.message


def test_the_watch_sees_memory_while_it_is_used(monkeypatch) -> None:
    used = iter([1, 2, 3, 11, 12])
    monkeypatch.setattr(throughput, "_resident", lambda: next(used, 12))
    exceeded = threading.Event()
    with throughput.within(10, exceeded.set):
        assert exceeded.wait(60)


def test_the_process_answers_each_size_and_refuses_in_one_line(
    machine: Machine, request_of, monkeypatch, capsys
) -> None:
    request = request_of()
    lines = [json.dumps(vars(request)), "8", "16"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    throughput.main()
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["batch_size"] for answer in answers] == [8, 16]
    assert [answer["seconds"][0] for answer in answers] == pytest.approx([5.0, 9.0])
    refused = {**request.config, "data": {**request.config["data"], "val_fraction": 0.999}}
    lines = [json.dumps({**vars(request), "config": refused}), "8"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    throughput.main()
    (answer,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "data.val_fraction" in answer["error"]
    assert answer["exit_code"] == InputError.exit_code


def test_one_evaluation_is_small_however_large_the_split(request_of) -> None:
    config = throughput._stopped_trial(request_of("eval_examples=100000"), 8, path=io.StringIO())  # type: ignore[arg-type]
    assert config.eval_examples == MOST_JUDGED
