"""The `study` block with cases, and the command line beside it."""

import pytest

from playbook.errors import InputError
from playbook.study.config import CommandLine, design_of, read_study_config
from playbook.study.design import Case, Objective
from playbook.study.space import Choice, Float

CASES = {
    "without": {"model.dropout": 0.0},
    "with": {"model.dropout": {"min": 0.05, "max": 0.6}},
}
LR = Float(1e-3, 1.0, "log")


def design(block, sweeps=None, overrides=()):
    given = CommandLine(sweeps or {}, frozenset(overrides), {"model.dropout": 0.0, "optimizer": "sgd", "lr": 0.1})
    return design_of(read_study_config(block), given, Objective(), None)


def test_a_case_has_values_and_ranges_in_any_notation():
    block = {
        "cases": {
            "a": {"model": "mlp", "model.depth": [1, 2], "lr": "tag(log,interval(1e-3,1.0))"},
            "b": {"model": {"width": {"min": 8, "max": 64, "type": "int"}}, "clip_norm": None},
        }
    }
    cases = design(block).cases
    assert cases["a"] == Case({"model": "mlp"}, {"model.depth": Choice((1, 2)), "lr": LR})
    assert cases["b"].settings == {"clip_norm": None}
    assert list(cases["b"].space) == ["model.width"]


def test_a_sweep_on_the_command_line_replaces_the_range_of_a_case_and_leaves_its_value():
    wider = Float(0.0, 0.9)
    cases = design({"cases": CASES}, {"model.dropout": wider, "lr": LR})
    assert cases.cases == {"without": Case({"model.dropout": 0.0}, {}), "with": Case({}, {"model.dropout": wider})}
    assert cases.nuisance == {"lr": LR}


@pytest.mark.parametrize(
    ("block", "sweeps", "overrides", "line"),
    [
        ({"cases": CASES}, {}, {"model.dropout"}, "model.dropout: study.cases.without says what it is there; leave"),
        (
            {"cases": {"a": {"model": "mlp"}, "b": {"model": "cnn"}}},
            {"model": Choice(("mlp", "cnn"))},
            {"model"},
            "model: study.cases gives it one value each",
        ),
        (
            {
                "cases": {"a": {"optimizer": "adam"}, "b": {"optimizer": "sgd"}},
                "conditional": [{"when": {"optimizer": "adam"}, "space": {"lr": [1, 2]}}],
            },
            {},
            set(),
            "study.conditional[0].when.optimizer: the cases differ in optimizer",
        ),
        ({"n_trials": 10**9}, {}, set(), "study.n_trials=1000000000: allowed is"),
        (
            {"conditional": [{"when": {"optimizer": "adam"}, "space": {"lr": [1, 2]}}]},
            {},
            set(),
            "study.conditional: none of its conditions holds here (optimizer=sgd); sweep the key yourself",
        ),
    ],
)
def test_what_contradicts_the_cases_is_one_line(block, sweeps, overrides, line):
    with pytest.raises(InputError) as refused:
        design(block, sweeps, overrides)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


SPACES = [
    {"when": {"optimizer": ["adam", "muon"]}, "space": {"lr": LR.plain()}},
    {"when": {"optimizer": "sgd"}, "space": {"lr": LR.plain()}},
]


@pytest.mark.parametrize("known", [("adam", "muon", "sgd"), ("adam", "sgd")])
def test_a_condition_may_name_options_that_are_not_compared_but_none_that_do_not_exist(known):
    block = read_study_config({"scientific": {"optimizer": ["adam", "sgd"]}, "conditional": SPACES})
    given = CommandLine({}, frozenset(), {"optimizer": "sgd"}, {"optimizer": known})
    if "muon" not in known:
        with pytest.raises(InputError, match="optimizer=muon: no arm has this value; there are adam, sgd"):
            design_of(block, given, Objective(), None)
        return
    found = design_of(block, given, Objective(), None)
    assert [dict(arm.space) for arm in found.arms] == [{"lr": LR}, {"lr": LR}]


def test_cases_without_a_space_for_this_optimizer_are_refused_unless_lr_is_swept():
    block = {"cases": CASES, "conditional": SPACES[:1]}
    with pytest.raises(InputError, match=r"^study\.conditional: none of its conditions holds here \(optimizer=sgd\)"):
        design(block)
    assert all(arm.space["lr"] == LR for arm in design(block, {"lr": LR}).arms)
    assert design({"conditional": SPACES[:1]}, {"lr": LR}).arms[0].space == {"lr": LR}  # without cases as well
