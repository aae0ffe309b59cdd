"""Three machines in miniature, end to end but for the process: which batch size, and what bounds the throughput."""

from __future__ import annotations

import json

import pytest

from playbook.errors import CrashError, InputError
from playbook.procedures import step_times
from playbook.procedures.find_batch_size import FindBatchSizeOptions, find_batch_size
from playbook.run_files import RESULT

SMALL = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1")


class Machine:
    """Answers in the place of the process that measures. Seconds of a step of B examples: fixed + (wait + each)·B."""

    def __init__(self, *, fixed=1e-3, each=1e-5, wait=0.0, bytes_each=0, num_examples=100_000):
        self.fixed, self.each, self.wait = fixed, each, wait
        self.bytes_each, self.num_examples = bytes_each, num_examples
        self.asked: list[int] = []
        self.starts = 0

    def timer(self, plain, budget):
        machine = self
        machine.starts += 1
        self.plain = plain

        class Timer:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

            def measure(self, size):
                machine.asked.append(size)
                peak = 200_000_000 + machine.bytes_each * size
                if budget is not None and peak > budget:
                    return {"batch_size": size, "status": "out_of_memory", "message": f"more than {budget} bytes"}
                step = machine.fixed + (machine.wait + machine.each) * size
                known = {"seconds": [step] * 8, "waits": [machine.wait * size] * 8, "peak_bytes": peak}
                return {"batch_size": size, "status": "complete", "num_examples": machine.num_examples, **known}

        return Timer()


@pytest.fixture
def ask(tmp_path, monkeypatch):
    def asked(machine, *words, **options):
        monkeypatch.setattr(step_times, "_Timer", machine.timer)
        given = FindBatchSizeOptions(out_dir=str(tmp_path / "out"), **options)
        return find_batch_size(*SMALL, *words, options=given, quiet=True)

    return asked


def test_a_model_that_saturates_the_machine(ask, tmp_path):
    machine = Machine(fixed=1e-3, each=1e-5)
    answer = ask(machine)
    assert answer.verdict == "found"
    assert answer.overrides == ("batch_size=2048",)  # 2048 / (0.001 + 0.02048) is 97 % of 8192's and 16384's
    assert answer.evidence["bottleneck"] == "compute"
    assert "-m study=learning_rate" in answer.next
    assert "batch_size=2048" in answer.next
    assert any("A8" in remark for remark in answer.remarks)
    assert machine.starts == 3
    assert machine.asked == [*(up := [16 << n for n in range(len(machine.asked) // 3)]), *reversed(up), *up]
    assert json.loads((tmp_path / "out" / RESULT).read_text())["batch_size"] == 2048


def test_a_loader_slowed_on_purpose(ask):
    answer = ask(Machine(fixed=1e-3, each=1e-6, wait=1e-4))
    assert answer.evidence["bottleneck"] == "input"
    assert answer.overrides == ("batch_size=256",)
    assert any("98%" in remark and "D1" in remark for remark in answer.remarks)
    short = answer.evidence["doublings"][1]
    assert short["adds"] == "input"
    assert any("throughput grows" in remark and "waiting for data" in remark for remark in answer.remarks)


def test_a_memory_budget_of_a_gigabyte(ask):
    answer = ask(Machine(fixed=1e-1, each=1e-6, bytes_each=10_000_000), memory_gb=1.0)
    assert answer.evidence["bottleneck"] == "memory"
    assert answer.overrides == ("batch_size=64",)
    assert list(answer.evidence["out_of_memory"]) == ["128"]
    assert any("batch_size=128 is out of memory" in remark for remark in answer.remarks)


def test_nothing_that_fits_is_no_answer(ask):
    answer = ask(Machine(bytes_each=100_000_000), memory_gb=1.0)
    assert answer.verdict == "cannot tell"
    assert answer.overrides is None
    assert "smallest=2" in answer.next


def test_what_was_measured_is_not_measured_again(ask, tmp_path):
    machine = Machine()
    ask(machine)
    before = len(machine.asked)
    assert ask(machine).overrides == ("batch_size=2048",)
    assert len(machine.asked) == before
    ask(machine, passes=4)
    assert len(machine.asked) == before * 4 // 3
    found = json.loads((tmp_path / "out" / "measurements.json").read_text())
    found["machine"] = "another"
    (tmp_path / "out" / "measurements.json").write_text(json.dumps(found))
    ask(machine)
    assert len(machine.asked) == before * 4 // 3 + before


def test_the_search_ends_with_the_data_or_where_it_is_told(ask):
    machine = Machine(fixed=1.0, each=1e-9, num_examples=1168)
    answer = ask(machine)
    assert answer.evidence["ended"] == "data"
    assert answer.evidence["bottleneck"] == "fixed cost"
    assert max(machine.asked) == 1024
    machine = Machine(fixed=1.0, each=1e-9)
    assert ask(machine, largest=100).evidence["ended"] == "asked"
    assert max(machine.asked) == 64


def test_devices_are_measured_together_and_alone(ask):
    machine = Machine(num_examples=64)
    answer = ask(machine, "trainer=ddp", "trainer.num_devices=2")
    assert machine.plain["trainer"]["num_devices"] == 1  # the last process: one device with its share
    assert set(machine.asked) == {8, 16, 32, 64}
    assert answer.evidence["sizes"][0]["parts"]["synchronisation"] == pytest.approx(1e-5 * 8)


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (("batch_size=8",), {}, "batch_size=8: it is what is looked for"),
        ((), {"smallest": 64, "largest": 32}, "smallest=64 largest=32"),
        (("trainer=ddp", "trainer.num_devices=3"), {}, "smallest=16: it is shared equally by trainer.num_devices=3"),
        (("trainer=ddp", "trainer.num_nodes=2"), {}, "trainer.num_nodes=2: one machine is measured"),
    ],
)
def test_what_makes_no_sense_is_refused(ask, tmp_path, words, options, said):
    with pytest.raises(InputError) as refused:
        ask(Machine(), *words, **options)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def process(tmp_path, script):
    """A timer whose process runs this script."""
    path = tmp_path / "process.py"
    path.write_text(script)
    return step_times._Timer({}, None, command=(str(path),))


def test_a_process_that_the_system_kills_is_out_of_memory(tmp_path):
    script = "import os, signal, sys\nsys.stdin.readline()\nsys.stdin.readline()\nos.kill(os.getpid(), signal.SIGKILL)"
    with process(tmp_path, script) as timer:
        answer = timer.measure(8)
    assert answer["status"] == "out_of_memory"
    assert "killed" in answer["message"]


def test_a_process_that_breaks_says_why(tmp_path):
    with process(tmp_path, "raise ValueError('a bug')") as timer, pytest.raises(CrashError, match="ValueError: a bug"):
        timer.measure(8)
