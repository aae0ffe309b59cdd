"""The plan says what will run, in a screen of 80 columns, and how long that will take once something is known."""

import pytest

from playbook.study.design import Conditional, Design
from playbook.study.plan import MAX_ARMS, MAX_CAVEATS, Plan
from playbook.study.space import Choice, Float, Int

LR = Float(1e-4, 1.0, "log")
FIXED = {
    "batch_size": 64,
    "clip_norm": None,
    "eval_every": 100,
    "keep_best": 1,
    "max_steps": 2000,
    "model._target_": "playbook.models.MLP",
    "model.width": 128,
    "model.activation": "relu",
    "optimizer._target_": "playbook.optim.Nesterov",
    "optimizer.momentum": 0.9,
    "seed": 0,
    "task._target_": "playbook.tasks.Classification",
    "task.metrics": {},
    "trainer.device": "auto",
    "objective.metric": "val/error",
}


def row(text: str, first: str) -> list[str]:
    """The words of the line that begins with `first`."""
    (line,) = (line for line in text.splitlines() if line.startswith(first))
    return line.split()


def test_arms_space_and_caveats():
    design = Design(
        "widths",
        goal="Is wider better?",
        scientific={"model.width": Choice((64, 128))},
        nuisance={"lr": LR, "optimizer.momentum": Float(0.5, 0.99, "log_one_minus")},
        repeat={"seed": Choice((0, 1, 2))},
        fixed={key: value for key, value in FIXED.items() if key not in ("model.width", "optimizer.momentum", "seed")},
    )
    text = Plan(design, 54).text()
    assert text.startswith("widths: Is wider better?\nobjective: the lowest val/error over the course of a trial\n")
    assert row(text, "model.width=64") == ["model.width=64", "9", "×", "3", "2", "3.0"]
    assert row(text, "model.width=128") == ["model.width=128", "9", "×", "3", "2", "3.0"]
    assert row(text, "model.width ") == ["model.width", "scientific", "64,", "128"]
    assert row(text, "lr ") == ["lr", "nuisance", "0.0001", "to", "1", "log"]
    assert " ".join(row(text, "optimizer.momentum")) == "optimizer.momentum nuisance 0.5 to 0.99 log of 1 − x"
    assert row(text, "seed") == ["seed", "repeat", "0,", "1,", "2"]
    caveats = text[text.index("Fixed: ") :].splitlines()
    assert [line.split() for line in caveats[1:]] == [
        ["trial", "batch_size=64", "max_steps=2000", "clip_norm=null"],
        ["optimizer", "Nesterov"],
        ["model", "MLP", "activation=relu"],
        ["task", "Classification"],
    ]
    assert "Advice" not in text


def test_conditional_hyperparameters_and_what_is_fixed_in_an_arm_say_where():
    design = Design(
        "optimizers",
        scientific={"optimizer": Choice(("nesterov", "adam"))},
        conditional=(
            Conditional({"optimizer": ("nesterov",)}, {"lr": Float(0.001, 3, "log")}),
            Conditional({"optimizer": ("adam",)}, {"lr": Float(1e-5, 0.1, "log")}),
        ),
        fixed_in={"optimizer=adam": {"optimizer._target_": "playbook.optim.Adam", "optimizer.beta1": 0.9}},
    )
    lines = Plan(design, 16).text().splitlines()
    place = lines.index("  where optimizer=adam")
    assert lines[place - 1].split() == ["lr", "nuisance", "1e-05", "to", "0.1", "log"]
    assert lines[lines.index("  where optimizer=nesterov") - 1].split()[2:] == ["0.001", "to", "3", "log"]
    assert "optimizer  where optimizer=adam: Adam beta1=0.9" in lines


def test_advice_stands_with_its_rule():
    text = Plan(Design("s", nuisance={"lr": Float(0.0001, 0.1)}), 4).text()
    said = text[text.index("Advice") :].splitlines()
    assert [line[:2] for line in said if line[:2].strip()] == ["Ad", "E3", "B4"]
    assert "'lr=tag(log,interval(0.0001,0.1))'" in text


@pytest.mark.parametrize(
    ("n_trials", "seconds", "num_workers", "expected"),
    [
        (16, (), 1, "16 trials; how long is unknown until the first trial ends"),
        (16, (4.0, 2.0, 90.0), 1, "16 trials, 3 done; about 52 s to go: 4.0 s a trial, 1 at a time"),
        (16, (60.0,), 4, "16 trials, 1 done; about 4 min to go: 60 s a trial, 4 at a time"),
        (17, (3600.0, 3600.0), 4, "17 trials, 2 done; about 4 h to go: 1 h a trial, 4 at a time"),
        (2, (1.0, 1.0), 1, "2 trials, 2 done; nothing left to run"),
        (8, (1.0,), 8, "8 trials, 1 done; about 1.0 s to go: 1.0 s a trial, 8 at a time"),
    ],
)
def test_time_is_the_median_trial_times_the_rounds_that_are_left(n_trials, seconds, num_workers, expected):
    assert expected in Plan(Design("s", nuisance={"lr": LR}), n_trials, seconds, num_workers).text()


def test_a_plan_is_a_screen_however_much_there_is():
    many = {f"model{number}.a_setting_with_a_long_name_{key}": key for number in range(30) for key in range(20)}
    design = Design("big", scientific={"model.width": Int(1, 50)}, nuisance={"lr": LR}, fixed=many)
    text = Plan(design, 800).text()
    assert max(map(len, text.splitlines())) <= 80
    assert f"and {50 - MAX_ARMS} more" in text
    shown = text.count("a_setting_with_a_long_name_")
    assert f"and {len(many) - shown} more in study.yaml" in text
    assert text.count("\nmodel") <= MAX_ARMS + MAX_CAVEATS + 1
    assert len(text.splitlines()) < 100


def test_names_are_text_and_not_markup():
    design = Design("s", goal="[red]is it [/red]?", scientific={"model.norm": Choice(("[bold]", "none"))})
    text = Plan(design, 2).text()
    assert "s: [red]is it [/red]?" in text
    assert "model.norm=[bold]" in text


def test_a_list_of_trials_is_shown_as_it_is():
    design = Design("again", listed_trials=({"lr": 0.1, "seed": 1}, {"lr": 0.2, "model.norm": None}))
    text = Plan(design, 2).text()
    assert row(text, "Trial") == ["Trial", "lr", "seed", "model.norm"]
    assert row(text, "0 ") == ["0", "0.1", "1"]
    assert row(text, "1 ") == ["1", "0.2", "null"]
    assert "Advice" not in text
    assert "and 88 more" in Plan(Design("many", listed_trials=tuple({"lr": i / 10} for i in range(100))), 100).text()


def test_a_grid_that_is_tried_whole_has_no_density():
    text = Plan(Design("grid", nuisance={"lr": Choice((0.1, 0.2)), "model.width": Choice((8, 16))}), 4).text()
    assert row(text, "all") == ["all", "4", "2", "all"]
