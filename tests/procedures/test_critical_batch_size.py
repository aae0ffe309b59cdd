"""The procedure on steps to a target that are known: its trials here are curves of S = a + b/B, and nothing trains."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from playbook.errors import InputError
from playbook.procedures.call import Call
from playbook.procedures.critical_batch_size import CriticalBatchSizeOptions, critical_batch_size
from playbook.run_files import RESULT
from playbook.study.design import Case, Design, Objective
from playbook.study.space import dimension
from playbook.training.gradient_noise import SQUARED_NORM, VARIANCE

A, B = 100.0, 6400.0
BEST_LR = 0.05  # at batch_size=64, and as the root of the size at others
WORDS = ("logger=none", "trainer.device=cpu", "max_steps=4000")


class KnownStudy:
    """What `run_study` gives, of trials whose metric falls from 0.9 to 0.02 along an exponential.

    It is at 0.064, 95 % of the way, after a + b/B steps with the best lr, and after more with others.
    """

    def __init__(self, design, n_trials, world):
        self.path, self.design, self._world = Path("known"), design, world
        self._trials = design.trials(n_trials)
        self.trials = pl.DataFrame(
            [
                {
                    "trial": each.number,
                    "arm": each.arm,
                    "status": "complete",
                    "lr": each.settings["lr"],
                    "objective": self._value(each, self._max_steps(each)),
                }
                for each in self._trials
            ]
        )

    def _max_steps(self, trial):
        return int(trial.settings.get("max_steps", 4000))

    def _value(self, trial, step):
        size = int(trial.settings.get("batch_size", 64))
        off = math.log(trial.settings["lr"] / (self._world.best_lr * math.sqrt(size / 64)))
        steps = (self._world.a + self._world.b / size) * (1 + off**2)
        return 0.02 + 0.88 * 0.05 ** (step / steps)

    def curves(self, metrics):
        rows = []
        for each in self._trials:
            every = int(each.settings.get("eval_every", 40))
            for step in range(0, self._max_steps(each) + 1, every):
                known = {"val/error": self._value(each, step), VARIANCE: 300.0, SQUARED_NORM: 2.0}
                rows += [(each.number, step, metric, known[metric]) for metric in metrics]
        return pl.DataFrame(rows, schema=["trial", "step", "metric", "value"], orient="row")

    def steps(self, trial):
        return pl.DataFrame({"step_seconds": [0.5] * 5 + [0.002] * 20})


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    known = SimpleNamespace(a=A, b=B, best_lr=BEST_LR, studies={})

    def run_study(self, part, goal, study, *words):
        cases = {name: Case.of(each, name) for name, each in study.get("cases", {}).items()}
        nuisance = {key: dimension(each, key) for key, each in study.get("nuisance", {}).items()}
        design = Design(part, Objective("val/error", "min"), goal, cases=cases, nuisance=nuisance)
        known.studies[part] = (study, words)
        return KnownStudy(design, study["n_trials"], known)

    monkeypatch.setattr(Call, "run_study", run_study)
    return known


def asked(*words, **options):
    return critical_batch_size(*WORDS, *words, options=CriticalBatchSizeOptions(**options), quiet=True)


def test_a_known_critical_batch_size_is_found(world, tmp_path):
    answer = asked(num_lrs=32)
    assert answer.verdict == "found"
    fit = answer.evidence["fit"]
    assert fit["balance"]["value"] == pytest.approx(B / A, rel=0.1)
    assert (fit["a"], fit["b"]) == pytest.approx((A, B), rel=0.1)
    low, high = fit["balance"]["interval"]
    assert low < B / A < high
    assert fit["over_linear_scaling"]["value"] == pytest.approx(0.2 * fit["balance"]["value"] + 1.2 * 8)
    sizes = {each["batch_size"]: each for each in answer.evidence["sizes"]}
    assert list(sizes) == [8, 16, 32, 64, 128, 256, 512, 1024]
    assert sizes[8]["regime"] == ["perfect scaling"]
    assert sizes[64]["regime"] == ["diminishing"]
    assert sizes[1024]["regime"] == ["flat"]
    for size in sizes.values():
        assert size["between"][0] < size["steps"] <= size["between"][1]
        assert size["seconds"] == pytest.approx(0.002 * size["steps"])  # the first steps are not timed
        assert size["lr"] == pytest.approx(BEST_LR * math.sqrt(size["batch_size"] / 64), rel=0.3)
    assert answer.evidence["gradient_noise_scale"]["value"] == pytest.approx(150)
    assert answer.overrides[0] in ("batch_size=32", "batch_size=64")
    assert answer.overrides[1] in answer.next
    written = json.loads(Path(answer.page).with_name(RESULT).read_text())
    assert written["fit"] == fit
    page = Path(answer.page).read_text()
    assert page.count("<svg") == 4
    assert "gradient noise scale" in page


def test_sizes_share_the_budget_that_perfect_scaling_asks_for(world):
    asked()
    cases = world.studies["sizes"][0]["cases"]
    steps = {each["batch_size"]: each["max_steps"] for each in cases.values()}
    assert steps[8] == 8 * steps[64]
    assert steps[1024] == steps[64]
    assert steps[64] >= 2 * (A + B / 64)
    for each in cases.values():
        assert 40 <= each["max_steps"] / each["eval_every"] <= 100
        middle = math.sqrt(each["lr"]["min"] * each["lr"]["max"])
        assert middle == pytest.approx(BEST_LR * math.sqrt(each["batch_size"] / 64), rel=0.01)


def test_a_best_lr_at_the_edge_is_not_fitted(world):
    world.best_lr = 100 * BEST_LR
    answer = asked()
    assert answer.verdict == "cannot tell"
    assert "is the highest that was tried" in answer.answer
    assert "lr_factor=30" in answer.next
    assert answer.overrides is None


def test_sizes_that_all_scale_perfectly_bound_it_from_below(world):
    world.a, world.b = 1.0, 64000.0
    answer = asked(batch_sizes=[16, 32, 64, 128, 256], num_lrs=16)
    assert answer.verdict == "at least"
    assert answer.evidence["fit"]["balance"]["interval"][1] is None
    assert "batch_sizes=[" in answer.next
    assert "512" in answer.next


def test_a_target_that_the_first_round_does_not_reach(world):
    answer = asked(target=0.001)
    assert answer.verdict == "cannot tell"
    assert "not to 0.001" in answer.answer
    assert "max_steps=16000" in answer.next
    assert list(world.studies) == ["first-round"]


def test_a_target_of_ones_own_is_used(world):
    answer = asked(target=0.2, num_lrs=32)
    assert answer.evidence["target"] == {"metric": "val/error", "value": 0.2}
    assert "val/error ≤ 0.2" in answer.answer


@pytest.mark.parametrize(
    ("words", "options", "line"),
    [
        (("eval_every=10",), {}, "eval_every=10: evaluations are as frequent"),
        (("schedule=cosine",), {}, "schedule._target_=playbook.optim.Cosine: with a decay"),
        ((), {"batch_sizes": [8, 16, 32]}, r"batch_sizes=\[8,16,32\]: 4 different sizes or more"),
        ((), {"target": 0.95}, "target=0.95: val/error is 0.9 before the first step"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(world, words, options, line):
    with pytest.raises(InputError, match=line) as refused:
        asked(*words, **options)
    assert "\n" not in str(refused.value)
    assert not Path("outputs").exists()


def test_a_size_that_fails_is_left_out_and_said(world, monkeypatch):
    reaches = KnownStudy._value

    def fails_at_1024(self, trial, step):
        return 0.9 if trial.settings.get("batch_size") == 1024 else reaches(self, trial, step)

    monkeypatch.setattr(KnownStudy, "_value", fails_at_1024)
    answer = asked(num_lrs=16)
    assert answer.verdict == "found"
    assert any("batch_size=1024: none of its trials reached the target" in line for line in answer.remarks)
