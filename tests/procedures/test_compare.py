"""Two configurations trained again until they can be told apart: a real one on digits, killed and gone on with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command import files
from ended_study import begin, end

import playbook
from playbook.analysis.study import Study
from playbook.errors import InputError
from playbook.examples import Examples
from playbook.procedures.pairs import FIRST_SEED, caveats, pair_up
from playbook.procedures.run_overrides import overrides_of
from playbook.procedures.sequential_test import THRESHOLDS
from playbook.procedures.sides import read_side
from playbook.report.registry import registry_listing
from playbook.run_files import RESULT
from playbook.study.design import Design
from playbook.study.registry import read_registry
from playbook.study.space import Choice
from playbook.trial_config import compose

BOTH = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1", "max_steps=10", "eval_every=5", "batch_size=32")
GOOD, BAD = ["lr=0.2"], ["lr=1e-5"]


def compare(folder, candidate=GOOD, incumbent=BAD, max_repeats=3, **options):
    outputs = str(folder / "outputs")
    options = {"both": BOTH, "output_root": outputs, "quiet": True} | options
    return playbook.compare(candidate, incumbent, max_repeats=max_repeats, **options)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder, and what was said."""
    folder = tmp_path_factory.mktemp("compared")
    return folder, compare(folder)


def results(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob(f"outputs/studies/*/trial_*/{RESULT}")}


def test_a_better_candidate_is_adopted(compared):
    said = compared[1]
    assert said.verdict == "adopt"
    assert said.last.low > 0
    assert [pair.seed for pair in said.pairs] == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]
    assert len({pair.candidate for pair in said.pairs}) > 1  # other seeds, other runs
    written = json.loads((Path(said.page).parent / RESULT).read_text())
    assert written["verdict"] == "adopt"
    assert written["interval"] == [said.last.low, said.last.high]
    assert written["pairs"][0]["incumbent"] == said.pairs[0].incumbent
    assert said.next.startswith("python train.py lr=0.2")
    study = playbook.load_study(said.study)
    assert study.trials["seed"].to_list() == [FIRST_SEED + place // 2 for place in range(6)]
    assert study.trials["lr"].to_list() == [0.2, 1e-5] * 3


def test_the_page_needs_no_network_and_says_the_answer(compared):
    page = Path(compared[1].page).read_text()
    assert "Adopt the candidate" in page
    assert page.count("<svg") == 2
    assert "<script" not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_the_same_call_finds_it_and_trains_nothing(compared):
    folder, said = compared
    before = results(folder)
    assert compare(folder, max_repeats=9) == replace(said, max_repeats=9, command=said.command.removesuffix("3") + "9")
    assert results(folder) == before


def test_a_launch_is_in_the_registry(compared):
    folder, said = compared
    (entry,) = read_registry(folder / "outputs" / "studies").entries
    assert entry.verdict == said.answer
    assert entry.adopted == "lr=0.2"
    assert entry.command.rpartition("=")[0] == said.command.rpartition("=")[0]  # but for max_repeats
    assert entry.report == said.page
    from rich.console import Console

    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(registry_listing(read_registry(folder / "outputs" / "studies")))
    assert "adopted: lr=0.2" in captured.get()


def test_killed_it_goes_on_to_the_same_numbers(compared, tmp_path, monkeypatch):
    from playbook import training

    train, calls = training.train, iter(range(100))

    def killed(*given, **named):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return train(*given, **named)

    monkeypatch.setattr(training, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path)
    assert len(results(tmp_path)) == 3
    before = results(tmp_path)
    said = compare(tmp_path)
    assert said.pairs == compared[1].pairs
    assert before.items() <= results(tmp_path).items()


def test_more_repeats_go_on_where_it_could_not_be_told(tmp_path):
    near = ["lr=0.2001"]
    first = compare(tmp_path, near, GOOD)
    assert first.verdict == "cannot tell"
    assert "Cannot tell" in first.answer
    before = results(tmp_path)
    more = compare(tmp_path, near, GOOD, max_repeats=4)
    assert more.pairs[:3] == first.pairs
    assert len(more.pairs) == 4
    assert before.items() <= results(tmp_path).items()
    assert read_registry(tmp_path / "outputs" / "studies").entries[0].adopted is None


def side(*words):
    return read_side("candidate", list(words), ["logger=none"])


def test_the_split_may_vary_and_then_it_alone():
    pairs = pair_up(side("lr=0.1"), side("lr=0.2"), (), "split").trials(3)
    assert {trial["seed"] for trial in pairs} == {FIRST_SEED}
    assert [trial["data.split_seed"] for trial in pairs] == [FIRST_SEED + place // 2 for place in range(6)]
    text = side("experiment=text_transformer"), side("experiment=text_transformer", "lr=0.5")
    with pytest.raises(InputError, match=r"no data\.split_seed"):
        pair_up(*text, (), "both")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("+optimizer.foreach=true", "type incumbent='[…,\"+optimizer.foreach=VALUE\"]' too"),
        ("~model.norm", "give model.norm a value, such as null"),
    ],
)
def test_a_key_that_one_side_alone_has_is_refused_with_what_to_type(word, said):
    candidate = side("lr=0.1")
    with pytest.raises(InputError) as refused:
        pair_up(replace(candidate, words=(*candidate.words, word)), side("lr=0.2"), (), "seed")
    assert str(refused.value).startswith(f"candidate: {word}: ")
    assert said in str(refused.value)


def test_a_studys_winner_is_trained_with_other_seeds_than_those_that_chose_it(tmp_path):
    design = Design(
        "lr",
        nuisance={"lr": Choice((1e-4, 0.01, 0.5))},
        repeat={"seed": Choice((0, FIRST_SEED))},
        overrides=("model.width=8", "logger=none", "trainer.num_threads=3"),
    )
    folder = tmp_path / "lr"
    end(folder, design, begin(folder, design, 6))
    winner = read_side("candidate", folder)
    assert winner.words == ("model.width=8", "lr=0.01")
    assert len(winner.of_study) == 2  # settings; one diverged
    pairs = pair_up(winner, side("lr=0.02", "model.width=8"), (), "seed")
    assert [trial["seed"] for trial in pairs.trials(2)] == [FIRST_SEED + 1] * 2 + [FIRST_SEED + 2] * 2
    trial = read_side("candidate", folder / "trial_00000")
    assert trial.words[0] == "model.width=8"
    assert trial.used == winner.used


def test_words_of_either_side_are_settings_and_common_ones_are_not():
    pairs = pair_up(side("model=cnn", "model.dropout=0.1", "lr=0.1"), side("lr=0.1"), ("logger=none",), "seed")
    assert pairs.words == ("lr=0.1", "logger=none")
    assert (pairs.candidate, pairs.incumbent) == ({"model": "cnn", "model.dropout": 0.1}, {})


@pytest.mark.parametrize(
    "words",
    [
        ["model=cnn", "optimizer=adam", "optimizer.beta1=0.95"],
        ["schedule=linear", "schedule.decay_steps=7", "max_steps=10"],
        ["experiment=fashion_mnist_mlp"],
        ["model=vit", "optimizer=muon", "+lr_scales.head=0.5"],
        ["task=regression", "data=diabetes", "objective.metric=val/loss"],
    ],
    ids=" ".join,
)
def test_a_run_is_composed_again_from_what_its_config_says(words):
    config = compose(*words)
    assert compose(*overrides_of(config.plain(), "run")).identity() == config.identity()


def test_a_run_says_its_seed_which_is_not_used_again(run_trial):
    run = run_trial(f"seed={FIRST_SEED}", "lr=0.03")
    again = read_side("candidate", run.path)
    assert again.used["seed"] == {FIRST_SEED}
    assert again.identity == {k: v for k, v in run.config.identity().items() if k in again.identity}
    pairs = pair_up(again, read_side("incumbent", ["max_steps=10", "eval_every=5", "batch_size=32"]), (), "seed")
    assert pairs.trials(1)[0]["seed"] == FIRST_SEED + 1
    (run.path / RESULT).unlink()
    with pytest.raises(InputError, match="has not ended"):
        read_side("candidate", run.path)


@pytest.mark.parametrize(
    ("candidate", "incumbent", "said"),
    [
        (["lr=0.1", "seed=1"], ["lr=0.1", "seed=2"], "it is the incumbent but for its seed"),
        (["objective.metric=val/loss"], [], "judged by val/loss"),
        (["data.val_fraction=0.3"], ["lr=0.1"], "other data"),
        (["data.split_seed=3"], ["lr=0.1"], "other data"),
        ("nowhere", [], "there is no such folder"),
        ("empty", [], "neither a run"),
        (["lrr=0.1"], [], "lrr=0.1"),
        (["lr=0.1,0.2"], [], "several values"),
        (["+model.new=1"], ["lr=0.1"], "model.new"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, candidate, incumbent, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)
    with pytest.raises(InputError) as refused:
        compare(tmp_path, candidate, incumbent)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert files(tmp_path) == before


def test_a_study_without_a_winner_is_refused(tmp_path):
    design = Design("none", nuisance={"lr": Choice((0.5, 0.6))})
    end(tmp_path / "none", design, begin(tmp_path / "none", design, 2))
    with pytest.raises(InputError, match="no winner"):
        read_side("candidate", tmp_path / "none")


def test_unequal_lengths_are_said():
    assert "(C1)" in caveats(side("max_steps=10"), side())[0]
    assert caveats(side("lr=0.1"), side()) == []


def test_the_noise_of_the_examples_is_paired(compared, monkeypatch):
    """Two examples of four change sides in every pair, beside what the objectives differ by."""
    import numpy as np

    tables = Study.tables

    def with_examples(self):
        found = tables(self)
        around = np.array([[-0.1, -0.1, 0.1, 0.1], [0.1, -0.1, 0.1, -0.1]])
        examples = {
            row["trial"]: Examples(
                np.array([row["best_step"]]), np.float32(row["objective"] + around[[row["trial"] % 2]])
            )
            for row in found.trials.iter_rows(named=True)
        }
        return replace(found, examples=examples)

    monkeypatch.setattr(Study, "tables", with_examples)
    said = compare(compared[0])
    assert said.n_examples == 4
    assert said.examples_se == pytest.approx(np.std([0.2, 0, 0, -0.2], ddof=1) / 2)
    assert "validation set of 4 examples" in " ".join(said.remarks)


def test_a_change_that_does_nothing_is_said_to_do_nothing(tmp_path):
    said = compare(tmp_path, ["clip_norm=1e9"], [])
    assert said.verdict == "cannot tell"
    assert said.remarks == (
        "Every repeat had the same objective with both: what differs between them did nothing here.",
    )
    assert said.next.startswith("python train.py logger=none")


def test_repeats_that_would_hardly_tell_are_not_trained(tmp_path):
    said = compare(tmp_path, ["clip_norm=1e9"], [], max_repeats=8)
    assert len(said.pairs) == THRESHOLDS.fewest_to_stop
    assert said.verdict == "cannot tell"
    assert (
        said.remarks[0] == "Stopped early: 3 more repeats of each, as far as max_repeats=8 allows, would tell with a"
        " chance of less than 1 %."
    )


@pytest.fixture
def door(script_door):
    """`door("key=value", …)`: the exit code and the output of `python scripts/compare.py …`."""
    return script_door("compare")


def test_results_of_a_file_are_compared_without_training(door, tmp_path):
    (tmp_path / "runs.csv").write_text("candidate,incumbent\n0.9,0.5\n0.92,0.52\n0.91,0.5\n0.9,\n")
    code, said = door("results=runs.csv", "mode=max")
    assert code == 0
    assert "Adopt the candidate" in said.out
    assert said.out.splitlines()[-1] == "runs-compare/index.html"
    assert json.loads((tmp_path / "runs-compare" / RESULT).read_text())["repeats"] == [4, 3]


def test_the_script_trains_both_where_its_words_say_so(door, compared, tmp_path):
    both = ",".join(f"'{word}'" for word in BOTH)
    folders = (f"output_root={compared[0] / 'outputs'}", f"out_dir={tmp_path / 'here'}")
    code, said = door("candidate=['lr=0.2']", "incumbent=['lr=1e-5']", f"both=[{both}]", "max_repeats=3", *folders)
    assert (code, said.err) == (0, "")
    assert "Adopt the candidate" in said.out
    assert (tmp_path / "here" / "index.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["candidate=[]"], "incumbent: what is compared?"),
        (["candidate=[]", "incumbent=[]", "max_repeats=2"], "max_repeats=2"),
        (["candidate=[]", "incumbent=[]", "vary=nothing"], "vary"),
        (["candidate=[]", "incumbent=[]"], "but for its seed"),
        (["results=none.csv"], "cannot be read"),
        (["candidat=[]"], "candidat"),
    ],
)
def test_the_script_refuses_in_a_line(door, tmp_path, words, said):
    code, printed = door(*words)
    assert code == 2
    (line,) = printed.err.splitlines()
    assert said in line
    assert files(tmp_path) == {}
