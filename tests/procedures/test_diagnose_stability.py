"""The stages of a diagnosis and what they conclude, on simulated networks whose truth is known; nothing is trained."""

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from playbook.errors import InputError
from playbook.procedures import diagnose_stability_mend
from playbook.procedures.comparison import Compared, Comparison, Pair
from playbook.procedures.diagnose_stability import DiagnoseStabilityOptions, diagnose_stability
from playbook.procedures.diagnose_stability_mend import warmup_lengths
from playbook.procedures.diagnose_stability_runs import Bench, TrainedRun
from playbook.procedures.sequential_test import looks

WORDS = ("logger=none", "max_steps=400", "eval_every=40")


@dataclass(frozen=True)
class Network:
    """Learns faster the larger lr is, best at `best`; from `unstable` on its loss rises at `at` (a share of the run),
    unless clipped, or warmed up for `warmup` steps or more."""

    best: float = 0.05
    unstable: float = 0.6
    at: float = 0.01
    warmup: int = 30
    agree: int = 100
    """Seeds below it are as said; the others are stable."""

    def run(self, lr, seed, max_steps, warmup=0, clip=False):
        rng = np.random.default_rng([seed, 1])  # what the batches are like
        own = np.random.default_rng([seed, round(1e6 * lr), warmup])
        step = np.arange(max_steps + warmup)
        loss = 2.3 * (1 + step / (5 + 0.5 / lr)) ** -1.0
        loss = loss * np.exp(0.1 * rng.standard_normal(1000)[: len(step)] + 0.03 * own.standard_normal(len(step)))
        mended = clip or warmup >= self.warmup
        best = 4 * self.best if mended else self.best
        objective = 0.05 - 0.02 * mended + 0.02 * math.log10(lr / best) ** 2 + 0.001 * own.standard_normal()
        if not mended and lr >= self.unstable and seed < self.agree:
            begin = round(self.at * max_steps) + 1
            loss[begin : begin + 60] += 4
            objective += 0.1
            if lr > 5 * self.unstable:
                loss, objective = np.append(loss[: begin + 5], math.nan), None
        evals = pl.DataFrame({"step": [0, 40, 400], "metric": "val/error", "value": [0.9, 0.3, 0.05]})
        return TrainedRun(lr, seed, objective, loss, 0.5 + np.abs(own.standard_normal(len(loss))), loss, evals)


@pytest.fixture
def simulated(monkeypatch, tmp_path, request):
    """`simulated(network)(*words, **options)`: the answer, `result.json`, and the parts that were trained."""
    monkeypatch.chdir(tmp_path)
    if "page" not in request.node.name:
        monkeypatch.setattr("playbook.procedures.call.page_html", lambda page: "")  # drawing takes seconds

    def of(network):
        parts = []

        def keys(words):
            given = dict(word.split("=", 1) for word in words)
            return int(given.get("max_steps", 400)), int(given.get("warmup_steps", 0)), "clip_norm" in given

        def train(bench, part, goal, rates, *words):
            parts.append(part)
            steps, warmup, clip = keys(words)
            return [network.run(rate, seed, steps, warmup, clip) for seed in bench.seeds for rate in rates]

        def train_constant(bench, part, goal, rate, seeds, *words):
            parts.append(part)
            steps, warmup, clip = keys(words)
            return [network.run(rate, seed, steps, warmup, clip) for seed in seeds]

        def compare(candidate, incumbent, *, max_repeats, **others):
            sides = []
            for side in (candidate, incumbent):
                given = dict(word.split("=", 1) for word in side)
                clip = given.get("clip_norm", "null") != "null"
                warmup = int(given.get("warmup_steps", 0))
                seeds = range(1000, 1000 + max_repeats)
                sides.append([network.run(float(given["lr"]), seed, 400, warmup, clip).objective for seed in seeds])
            pairs = tuple(Pair(*each) for each in zip(*sides, strict=True))
            compared = [Compared(" ".join(side)) for side in (candidate, incumbent)]
            every_look = tuple(looks(*sides))
            return Comparison(
                "c", "val/error", "min", 0.0, 0.05, "seed", max_repeats, *compared, pairs, every_look, "next", "c", "p"
            )

        monkeypatch.setattr(Bench, "train", train)
        monkeypatch.setattr(Bench, "train_constant", train_constant)
        monkeypatch.setattr(diagnose_stability_mend, "compare", compare)

        def run(*words, **options):
            parts.clear()
            said = diagnose_stability(*WORDS, *words, options=DiagnoseStabilityOptions(**options), quiet=True)
            return said, json.loads((Path(said.page).parent / "result.json").read_text()), list(parts)

        return run

    return of


def test_a_stable_network_is_stable_however_it_breaks_far_above(simulated):
    said, result, parts = simulated(Network(unstable=0.3))()
    assert said.verdict == "stable"
    assert 0.02 < result["lr_star"] < 0.12
    low, high = result["unstable_interval"]
    assert low < 0.3 <= result["unstable_base_learning_rate"] <= high
    assert high <= 1.6 * low * (1 + 1e-9)  # looked for in between
    assert said.next == f"python train.py {' '.join(WORDS)} lr={result['lr_star']:g}"
    assert result["fixes"] == []
    assert parts[:2] == ["sweep", f"probes-{result['lr_star']:g}"]


@pytest.mark.parametrize(("at", "kind"), [(0.01, "early"), (0.5, "mid-run")])
def test_early_and_mid_run_are_told_apart(simulated, at, kind):
    said, result, _ = simulated(Network(unstable=0.055, at=at))("model.residual=true")
    assert said.verdict == f"unstable {kind}"
    assert 0.055 <= result["unstable_base_learning_rate"] < 0.055 * 1.6
    assert said.next.endswith("mend=true")
    assert [each["what"].split(",")[0] for each in result["fixes"]] == [
        "normalise inside the residual branch",
        "warmup",
        "clip the gradient's norm",
        "another optimizer",
        "another initialisation",
        "a lower learning rate",
    ]
    assert result["fixes"][0]["overrides"] == ["model.norm=layer"]
    assert f"lr={result['lr_star']:g}" in said.overrides


def test_seeds_that_disagree_cannot_tell_and_ask_for_more(simulated):
    network = Network(unstable=0.055, agree=1)
    said, _, _ = simulated(network)()
    assert said.verdict == "cannot tell"
    assert "1 of 3 seeds" in said.answer
    assert said.next.endswith("seeds=6")
    said, _, more = simulated(network)(seeds=6)
    assert said.verdict == "stable"  # one in six is few
    # Studies are found again by their names, which must not stand for other trials where more seeds say otherwise.
    assert all(part.startswith(("sweep", "probes-0.", "every-step-0.", "between-0.")) for part in more)


@pytest.mark.parametrize(("best", "wider"), [(3e-4, "lr_low="), (10.0, "lr_high=")])
def test_a_best_rate_at_the_end_of_the_range_is_refused_with_the_wider_one(simulated, best, wider):
    said, result, parts = simulated(Network(best=best, unstable=1e9))()
    assert said.verdict == "cannot tell"
    assert wider in said.next
    assert result["lr_star"] is None
    assert result["mended"] is None
    assert parts == ["sweep"]
    key, value = said.next.split()[-1].split("=")
    assert key == wider[:-1]
    again, _, _ = simulated(Network(best=best, unstable=1e9))(rates=20, **{key: float(value)})
    assert again.verdict == "stable"


def test_warmup_mends_an_early_instability_and_is_proposed(simulated):
    said, result, parts = simulated(Network(unstable=0.055))(mend=True)
    mended = result["mended"]
    assert mended["base_lr"] == pytest.approx(10 * result["unstable_base_learning_rate"], rel=0.01)
    assert [each["steps"] for each in mended["warmups"]] == [4, 13, 40]  # 30 is needed; 40 is a tenth of max_steps
    assert [each["holding"] for each in mended["warmups"]] == [0, 0, 3]
    assert mended["warmup_steps"] == 40
    assert mended["lr"] > result["lr_star"]
    assert mended["verdict"] == "adopt"
    assert said.overrides == ("warmup_steps=40", f"lr={mended['lr']:g}")
    assert said.next.startswith("python train.py")
    assert "warmup_steps=40" in said.next
    assert "10% of max_steps" in " ".join(said.remarks)
    assert not any(part.startswith("warmup") and "-400" in part for part in parts)


@pytest.mark.parametrize(("at", "warmup"), [(0.5, 30), (0.01, 1000)])
def test_clipping_mends_what_warmup_does_not(simulated, at, warmup):
    said, result, parts = simulated(Network(unstable=0.055, at=at, warmup=warmup))(mend=True)
    mended = result["mended"]
    assert any(part.startswith("warmup") for part in parts) == (at < 0.1)
    assert mended["warmup_steps"] is None
    assert mended["clip_norm"] == pytest.approx(0.5 + 1.645, rel=0.1)  # the 90th percentile of |normal| is 1.645
    assert said.overrides[0] == f"clip_norm={mended['clip_norm']:g}"


def test_nothing_is_mended_where_nothing_limits_the_rate(simulated):
    said, result, parts = simulated(Network(unstable=0.3))(mend=True)
    assert result["mended"] is None
    assert said.next.startswith("python train.py")
    assert not any(part.startswith(("warmup", "mended")) for part in parts)


def test_the_page_shows_the_evidence(simulated, tmp_path):
    said, _, _ = simulated(Network(unstable=0.055))(mend=True)
    page = next(tmp_path.glob("outputs/diagnose_stability/*/index.html")).read_text()
    assert page.count("<svg") == 5
    assert said.answer.split(":")[0] in page
    assert "NaN" not in page


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (("lr=0.1",), {}, "lr_low="),
        (("output_dir=x",), {}, "output_dir=x"),
        (("study.n_trials=3",), {}, "study.n_trials=3"),
        ((), {"lr_low": 0.1, "lr_high": 0.2}, "lr_high=0.2"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(simulated, words, options, said):
    run = simulated(Network())
    with pytest.raises(InputError) as refused:
        run(*words, **options)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("max_steps", [1, 5, 10, 99, 100, 2000, 140_000])
def test_warmups_go_by_orders_of_magnitude_and_are_at_most_a_tenth(max_steps):
    lengths = warmup_lengths(max_steps)
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == max(1, max_steps // 10)
    assert lengths[0] < 10
    assert all(8 <= after / before <= 20 for before, after in itertools.pairwise(lengths))
