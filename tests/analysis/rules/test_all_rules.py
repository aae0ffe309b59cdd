"""All findings together: ordered, in words and in numbers that JSON holds, for any study."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from synthetic_tables import a_space, study, tables, together

import playbook.analysis
from playbook.analysis.rules import SEVERITIES, best_step, find_all, importance, infeasible
from playbook.analysis.tables import CURVE_COLUMNS
from playbook.study.overrides import as_override, sweep_override
from playbook.study.space import Choice, Dimension, Float

LR = {"lr": Float(1e-4, 1e-1, "log")}


def a_faulty_study():
    space = a_space(np.random.default_rng(0), 5)
    faulty = study(60, space, lambda at: (at["lr"] - 0.9) ** 2, infeasible=lambda at: at["lr"] > 0.5, noise=0.02)
    at_edge = study(60, space, lambda at: (at["lr"] + 0.3) ** 2, seed=1, arm="optimizer=sgd")
    return together(faulty, at_edge)


HOSTILE = {
    "nothing": tables([], {"lr": []}, LR),
    "one trial": tables([0.5], {"lr": [0.1]}, LR),
    "one that failed": tables([None], {"lr": [0.1]}, LR),
    "all failed": tables([None] * 20, {"lr": list(np.geomspace(1e-4, 0.1, 20))}, LR),
    "all the same": tables([0.5] * 20, {"lr": [0.1] * 20}, LR),
    "all perfect": tables([0.0] * 20, {"lr": list(np.geomspace(1e-4, 0.1, 20))}, LR),
    "infinite": tables([np.inf, np.nan, -np.inf] * 5, {"lr": list(np.geomspace(1e-4, 0.1, 15))}, LR),
    "huge": tables([1.7e308, -1.7e308, 0.0] * 5, {"lr": list(np.geomspace(1e-4, 0.1, 15))}, LR),
    "names": tables([0.1, 0.2] * 5, {"k": ["<b>", "'; --"] * 5}, {"k": Choice(("<b>", "'; --"))}),
    "empty column": tables([0.1, 0.2] * 5, {"lr": [None] * 10}, LR),
    "outside its range": tables([0.1, 0.2, 0.3] * 4, {"lr": [-1.0, 0.0, 1e9] * 4}, LR),
    "mixed": tables([0.1, 0.2, None] * 4, {"k": [1, None, 2] * 4}, {"k": Choice((1, None, 2))}),
    "no space": tables([0.1, 0.2, None] * 4, {}, {}),
    "faulty": a_faulty_study(),
}


@pytest.mark.parametrize("rule", [best_step, importance, infeasible])
def test_a_study_is_as_sure_however_often_its_settings_are_repeated(rule):
    space = {"lr": Float(1e-4, 1e-1, "log"), "k": Float(0, 1)}
    once = study(24, space, lambda at: at["lr"] + at["k"] / 3, noise=0.1, infeasible=lambda at: at["lr"] > 0.7)
    once = replace(once, trials=once.trials.with_columns(best_step=pl.lit(10, pl.Int64())), max_steps=2000)
    seeds = pl.DataFrame({"seed": [0, 1, 2]}, schema={"seed": pl.Int64()})
    repeats = once.trials.drop("seed").join(seeds, how="cross")
    thrice = repeats.with_columns(trial=pl.int_range(len(repeats), dtype=pl.Int64))
    (here,), (there,) = rule.find(once), rule.find(replace(once, trials=thrice, repeat=("seed",)))
    assert there.evidence == here.evidence
    assert "72" not in there.message


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("by_maximum", [False, True])
def test_any_study_has_findings_that_can_be_written(name, by_maximum):
    found = HOSTILE[name]
    if by_maximum:
        found = replace(found, objective=replace(found.objective, mode="max"))
    for each in find_all(found):
        assert each.severity in SEVERITIES
        assert each.message
        json.dumps(asdict(each), allow_nan=False)
        assert set(each.trials) <= set(found.trials["trial"])
        assert each.arm is None or each.arm in found.arms


def test_problems_come_first_and_every_change_can_be_typed():
    found = find_all(a_faulty_study())
    order = [SEVERITIES.index(each.severity) for each in found]
    assert order == sorted(order)
    codes = {(each.code, each.arm) for each in found if each.severity != "info"}
    assert codes >= {
        ("lr_at_stability_edge", "all"),
        ("infeasible_fraction", "all"),
        ("space_boundary", "optimizer=sgd"),
    }
    changes = [change for each in found for remedy in each.next for change in remedy.changes.items()]
    assert changes
    OverridesParser.create().parse_overrides(
        [sweep_override(key, to) if isinstance(to, Dimension) else as_override(key, to) for key, to in changes]
    )


def test_of_what_is_for_information_the_answer_comes_first():
    said = [each.code for each in find_all(a_faulty_study()) if each.severity == "info"]
    assert said[:2] == ["best", "arms"]
    assert len(said) > 2


def test_ten_thousand_trials():
    found = study(10_000, a_space(np.random.default_rng(1), 6), lambda at: (at["lr"] + 0.2) ** 2, noise=0.1)
    assert next((each.code, each.severity) for each in find_all(found)) == ("space_boundary", "problem")


def test_the_order_of_the_trials_is_of_no_matter():
    found = a_faulty_study()
    shuffled = replace(found, trials=found.trials.sample(fraction=1, shuffle=True, seed=3).sort("arm"))
    in_order = replace(found, trials=found.trials.sort("arm"))

    def said(which):
        return sorted((each.code, each.severity, str(each.arm), str(each.parameter)) for each in find_all(which))

    assert said(shuffled) == said(in_order)


def test_a_study_without_curves_has_no_finding_of_curves():
    assert a_faulty_study().curves.equals(pl.DataFrame(schema=CURVE_COLUMNS))
    assert "overfitting" not in {each.code for each in find_all(a_faulty_study())}


def test_no_rule_knows_hydra():
    for path in Path(playbook.analysis.__file__).parent.rglob("*.py"):
        assert "hydra" not in (text := path.read_text()).replace("no Hydra", ""), path
        assert "study.overrides" not in text, path
