"""Studies from the command line: what they run, how they go on, and what they refuse."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
import warm
import yaml
from command import ROOT, Door
from rich.console import Console

import playbook
from playbook.lock import locked
from playbook.study.config import StudyConfig
from playbook.study.design import Design
from playbook.study.ledger import Ledger
from playbook.study.progress import Watch
from playbook.study.space import Choice
from playbook.study.study_files import outcome, read_study
from playbook.training.loop import TrialLoop

SHORT = ("logger=none", "max_steps=20", "eval_every=10", "trainer.num_threads=1", "trainer.device=cpu")
UNREPORTED = ROOT / "tests" / "unreported_train.py"
LR = "lr=tag(log,interval(1e-4,1e-1))"


def trials_csv(studies: Path, name: str) -> str:
    return (studies / "outputs" / "studies" / name / "trials.csv").read_text()


def folders(studies: Path, name: str) -> list[str]:
    return sorted(path.name for path in (studies / "outputs" / "studies" / name).glob("trial_*"))


def test_a_study_is_extended_to_its_new_target(door: Door, tmp_path: Path, unreported: None) -> None:
    words = ("-m", "optimizer=adam", LR, "study.name=a", *SHORT)
    assert door(*words, "study.n_trials=3").code == 0
    first = trials_csv(tmp_path, "a")
    assert folders(tmp_path, "a") == ["trial_00000", "trial_00001", "trial_00002"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert door(*words, "study.n_trials=5").code == 0
    assert trials_csv(tmp_path, "a").startswith(first)
    assert len(folders(tmp_path, "a")) == 5
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())  # none was run again
    assert door(*words, "study.n_trials=5").left_behind == []  # nothing is left to do
    assert "5 of 5 trials done" in door(*words, "study.n_trials=2").out


def test_a_grid_with_seeds_is_all_of_it(door: Door, tmp_path: Path, unreported: None) -> None:
    assert door("-m", "lr=1e-3,1e-2", "seed=0,1", "study.name=grid", *SHORT).code == 0
    table = pl.read_csv(tmp_path / "outputs" / "studies" / "grid" / "trials.csv")
    assert sorted(table.select("lr", "seed").rows()) == [(lr, seed) for lr in (1e-3, 1e-2) for seed in (0, 1)]
    about = ["trial", "arm", "status", "objective", "best_step", "seed", "objective_se", "n_examples"]
    assert table.columns == [*about, "lr"]
    assert table["n_examples"].to_list() == [359] * 4
    assert len(playbook.load_study(tmp_path / "outputs" / "studies" / "grid").tables().examples) == 4


def test_the_same_command_without_a_name_finds_its_study(door: Door, tmp_path: Path, unreported: None) -> None:
    for words in (("lr=0.1,0.2", "model.width=8"), ("model.width=8", "lr=0.1,0.2"), ("lr=0.1,0.2", "model.width=9")):
        assert door("-m", *words, *SHORT).code == 0
    assert len(list((tmp_path / "outputs" / "studies").iterdir())) == 2


def test_options_of_groups_are_arms_with_their_own_spaces(door: Door, tmp_path: Path, unreported: None) -> None:
    assert door("-m", "study=optimizers", "study.name=arms", "study.n_trials=3", *SHORT).code == 0
    table = pl.read_csv(tmp_path / "outputs" / "studies" / "arms" / "trials.csv")
    assert table["optimizer"].to_list() == ["nesterov", "adam", "nesterov"]
    momentum, beta1 = table["optimizer.momentum"].is_not_null(), table["optimizer.beta1"].is_not_null()
    assert momentum.to_list() == [True, False, True]
    assert (momentum != beta1).all()


def test_the_printed_command_is_one_line_that_a_shell_can_take(door: Door, unreported: None) -> None:
    out = door("-m", "model.activation=relu,gelu", "study.name=a", *SHORT).out
    (again,) = (line for line in out.splitlines() if line.startswith("again "))
    assert len(again) > 80
    assert again.endswith(("model.activation=relu", "model.activation=gelu"))


def test_the_live_table_keeps_to_its_lines(tmp_path: Path) -> None:
    design = Design("s", nuisance={"lr": Choice((0.1, 0.2))})
    watch = Watch(Ledger(tmp_path, design, design.trials(2), None), design.trials(2), 2)
    watch.__enter__()
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(watch._view())
    watch._stop.set()
    bar, header, row = (line.rstrip() for line in captured.get().splitlines())
    assert set(bar) <= {"━", "╸", "╺", " "}
    assert header.split()[:3] == ["Done", "Infeasible", "Running"]
    assert row.split()[:3] == ["0/2", "0", "0"]


def test_a_trial_can_be_run_again_by_its_command(door: Door, tmp_path: Path, unreported: None) -> None:
    """The command that the study prints for its best trial gives the same curves."""
    assert door("-m", "optimizer=adam", LR, "study.name=a", "study.n_trials=2", *SHORT).code == 0
    study = read_study(tmp_path / "outputs" / "studies" / "a")
    assert study is not None
    from playbook.study.overrides import as_override

    trial = study.design.trials(2)[1]
    words = [*study.design.overrides, *(as_override(key, value) for key, value in trial.settings.items())]
    assert door(*words, "output_dir=again").code == 0
    for name in ("evals.csv",):
        there = tmp_path / "outputs" / "studies" / "a" / trial.folder / name
        assert there.read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_third_diverges_and_two_crash(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreported: None
) -> None:
    """Each outcome is recorded, the others are done; crashes are retried, kept, and run again by the same command."""
    import playbook.training as training

    real, calls = training.train, []

    def train(config, **named):
        calls.append(config.lr)
        if config.lr in (0.2, 0.4):
            raise RuntimeError(f"a bug at lr={config.lr}")
        return real(config, **named)

    words = ("-m", "lr=0.1,0.2,0.3,0.4,1e37,2e37", "study.name=c", "study.retries=1", *SHORT)
    monkeypatch.setattr(training, "train", train)
    sweep = door(*words)
    assert sweep.code == 1
    assert sorted(calls) == [0.1, 0.2, 0.2, 0.3, 0.4, 0.4, 1e37, 2e37]
    folder = tmp_path / "outputs" / "studies" / "c"
    table = pl.read_csv(folder / "trials.csv")
    assert dict(zip(table["lr"], table["status"], strict=True)) == {
        0.1: "complete",
        0.2: "crashed",
        0.3: "complete",
        0.4: "crashed",
        1e37: "infeasible",
        2e37: "infeasible",
    }
    crashed = table.filter(pl.col("status") == "crashed")["trial"].to_list()
    for trial in crashed:
        texts = [path.read_text() for path in sorted((folder / f"trial_{trial:05d}").glob("crash_*.txt"))]
        assert len(texts) == 2
        assert all("Traceback" in text and "a bug at lr=" in text for text in texts)
        assert f"trial_{trial:05d}" in sweep.out
    monkeypatch.setattr(training, "train", real)
    calls.clear()
    assert door(*words).code == 0
    assert pl.read_csv(folder / "trials.csv")["status"].value_counts(sort=True).rows() == [
        ("complete", 4),
        ("infeasible", 2),
    ]


def test_where_every_trial_is_refused_alike_nothing_is_left(door: Door) -> None:
    line = door("-m", "data=arrays", "data.path=missing.npz", "lr=0.1,0.2", *SHORT).line
    assert "missing.npz" in line


REFUSED = [
    ("lrr=0.1,0.2", ["lrr=0.1,0.2", "did you mean lr"]),
    ("lr=interval(0.1,0.1)", ["lr=interval(0.1,0.1)", "below"]),
    ("lr=interval(0.2,0.1)", ["lr=interval(0.2,0.1)"]),
    ("lr=tag(log,interval(0,0.1))", ["lr=tag(log,interval(0,0.1))", "above 0"]),
    ("lr=tag(log,choice(0.1,0.2))", ["lr=", "log"]),
    ("lr=0.1,0.2 study.n_trials=-1", ["study.n_trials=-1", ">= 1 and <= 100000"]),
    ("lr=0.1,0.2 study.n_trials=3", ["study.n_trials=3", "2 different trials"]),
    ("lr=0.1,0.2 study.name=../x", ["study.name=../x", "a folder"]),
    ("lr=0.1,0.2 study.name=a/b", ["study.name=a/b", "a folder"]),
    ("lr=0.1,-1", ["lr=-1", "a finite number > 0"]),
    ("batch_size=32,64", ["batch_size", "A8", "study.roles.batch_size=scientific"]),
    ("max_steps=10,20", ["max_steps", "C1"]),
    ("seed=interval(0,9)", ["seed", "B11"]),
    ("lr=0.1,0.2 objective.metric=test/error", ["test/error", "B12"]),
    ("lr=0.1,0.2 study.roles.lr=foo", ["study.roles.lr=foo", "scientific, nuisance, repeat"]),
    ("lr=0.1,0.2 study.roles.momentum=scientific", ["study.roles.momentum=scientific", "not searched"]),
    ("study.scientific={lr:[0.1,0.2]} +study.nuisance.lr=[0.1]", ["study.scientific"]),
    ("study.conditional=[{when:{foo:1},space:{lr:[0.1,0.2]}}]", ["study.conditional"]),
    ("lr=0.1,0.2 output_dir=x", ["output_dir=x"]),
    ("", ["nothing is searched"]),
    ("study=nope", ["study=nope", "study=learning_rate"]),
    ("optimizer=adam,nope", ["optimizer=nope"]),
    ("experiment=fashion_mnist_mlp optimizer=adam,sgd", ["lr"]),
    ("model=null,mlp", ["model=null", "names of options"]),
    ("model={depth:1},{depth:2}", ["model={'depth': 1}", "model.<key>"]),
    ("model=1,2", ["model=1", "names of options"]),
    ("model.width=interval(8,64)", ["model.width=interval(8.0,64.0)", "int(interval(8,64))"]),
    ("warmup_steps=${eval_every},5", ["warmup_steps=${eval_every},5", "type its value"]),
    ("lr=0.1,0.2 study.name=a,b", ["study.name=a,b", "one value"]),
    ("lr=0.1,0.2 study.nmae=a seed=0,1", ["study.nmae=a", "did you mean study.name"]),
    ("lr=0.1,0.2 study.storage=foo", ["study.storage=foo", "the URL of a database"]),
    ("lr=0.1,0.2 study.app=foo.Bar", ["study.app=foo.Bar", "a class"]),
    ("lr=0.1,0.2 hydra/launcher=joblib hydra.launcher.n_jobs=0", ["hydra.launcher", "n_jobs"]),
    ("lr=0.1,0.2 --cfg job", ["--multirun --cfg", "one of them"]),
    ("study=learning_rate optimizer=adam,sgd", ["conditional", "study.roles.optimizer=scientific"]),
    ("study.conditional=[{when:{optimizer:adam}}]", ["study.conditional[0].space", "a value is needed"]),
    ("lr=0.1,0.2 lr=0.3", ["nothing is searched"]),
]


@pytest.mark.parametrize(("words", "parts"), REFUSED, ids=[words or "nothing" for words, _ in REFUSED])
def test_a_bad_design_is_refused_in_one_line(door: Door, words: str, parts: list[str]) -> None:
    short = [word for word in SHORT if word.partition("=")[0] not in words]
    line = door("-m", *words.split(), *short).line
    for part in parts:
        assert part in line


PLANNED = [
    ("model=mlp,cnn schedule=constant,linear", "4 trials"),  # two groups at once
    ("lr=0.1,0.2,0.3 lr=0.1,0.2", "2 trials"),  # of two words for a key the later one counts
    ("lr=0.1,0.2 study.name=2026_11_20", "2026_11_20"),  # which Hydra takes for a number
    ("lr=0.1,0.2 study.name=a+b=c", "a+b=c"),
    ("study.nuisance.model.width=[8,16]", "model.width"),
    ("study.nuisance={lr:{min:0.1,max:1}} study.n_trials=3", "3 trials"),
]


@pytest.mark.parametrize(("words", "said"), PLANNED, ids=[words for words, _ in PLANNED])
def test_a_design_in_other_words(door: Door, words: str, said: str, untimed: None) -> None:
    plan = door("-m", *words.split(), "study.dry_run=true", *SHORT)
    assert plan.code == 0, plan.err
    assert said in plan.out


def test_words_on_both_sides_of_a_flag(door: Door, untimed: None) -> None:
    assert "2 trials" in door("lr=0.1,0.2", "-m", "study.dry_run=true", *SHORT).out


def test_arms_swept_on_the_command_line_have_the_studys_spaces(door: Door, untimed: None) -> None:
    plan = door(
        "-m", "study=learning_rate", "optimizer=adam,sgd", "study.roles.optimizer=scientific", "study.dry_run=true"
    ).out
    assert "3e-05 to 0.3" in plan
    assert "0.001 to 10" in plan


def test_another_sweeper_runs_no_studies(door: Door) -> None:
    refused = door("-m", "study=learning_rate", "hydra/sweeper=basic", *SHORT)
    assert refused.code == 2
    assert "hydra/sweeper=basic runs no studies" in refused.err
    assert not [name for name in refused.left_behind if name.endswith("result.json")]


def test_a_study_file_without_its_base_is_found_out(door: Door, tmp_path: Path) -> None:
    (tmp_path / "conf" / "study").mkdir(parents=True)
    (tmp_path / "conf" / "study" / "mine.yaml").write_text("nuisance: {lr: [0.1, 0.2]}\n")
    (tmp_path / "conf" / "study" / "torn.yaml").write_text("nuisance: {lr: [0.1, 0.2}\n")
    where = f"--config-dir={tmp_path}/conf"
    assert "defaults: [_base_, _self_]" in door("-m", "study=mine", "study.name=a", where, *SHORT).line
    assert "torn.yaml" in door("-m", "study=torn", where, *SHORT).line


def test_a_study_without_m_is_refused(door: Door) -> None:
    assert "python train.py -m study=learning_rate" in door("study=learning_rate", *SHORT).line


def test_a_changed_study_is_refused_with_the_difference(door: Door, unreported: None) -> None:
    words = ("-m", "optimizer=adam", "study.name=a", "study.n_trials=2")
    assert door(*words, LR, *SHORT).code == 0
    assert "nuisance.lr.max: 0.1 there, 0.2 here" in door(*words, "lr=tag(log,interval(1e-4,0.2))", *SHORT).line
    assert "model.width: 128 there, 64 here" in door(*words, LR, "model.width=64", *SHORT).line
    assert door(*words, LR, *(word for word in SHORT if word != "logger=none"), "logger=wandb").code == 0


def test_the_plan_alone_writes_nothing(door: Door, untimed: None) -> None:
    plan = door("-m", "study=tune_optimizer", "study.n_trials=30", "study.dry_run=true", *SHORT)
    assert plan.code == 0
    assert plan.left_behind == []
    assert "30" in plan.out
    assert "lr" in plan.out


def test_a_list_of_trials(door: Door, tmp_path: Path, unreported: None) -> None:
    trials = "study.trials=[{lr: 0.1, model.width: 8}, {lr: 0.2, optimizer: adam}]"
    assert door("-m", trials, "study.name=l", *SHORT).code == 0
    table = pl.read_csv(tmp_path / "outputs" / "studies" / "l" / "trials.csv")
    assert table.select("lr", "model.width", "optimizer").rows() == [(0.1, 8, "nesterov"), (0.2, 128, "adam")]


def test_what_a_trial_of_a_list_leaves_out_is_part_of_it(door: Door, unreported: None) -> None:
    words = ("-m", "study.trials=[{}, {lr: 0.1}]", "study.name=l", *SHORT)
    assert door(*words, "lr=0.3").code == 0
    assert "trials: the list begins otherwise there" in door(*words, "lr=0.4").line


def test_what_was_killed_before_it_was_written_is_written(door: Door, tmp_path: Path, unreported: None) -> None:
    """A sweep that is killed as its last trial ends leaves nothing to run, and a table without that trial."""
    words = ("-m", "lr=0.1,0.2", "study.name=a", *SHORT)
    assert door(*words).code == 0
    folder = tmp_path / "outputs" / "studies" / "a"
    whole = trials_csv(tmp_path, "a")
    (folder / "trials.csv").write_text("".join(whole.splitlines(keepends=True)[:-1]))
    (folder / "optuna.db").unlink()
    assert door(*words).code == 0
    assert trials_csv(tmp_path, "a") == whole
    assert (folder / "optuna.db").exists()


def test_a_damaged_result_is_refused_with_its_remedy(door: Door, tmp_path: Path, unreported: None) -> None:
    words = ("-m", "lr=0.1,0.2", "study.name=a", *SHORT)
    assert door(*words).code == 0
    own = Path("outputs/studies/a/trial_00001")
    whole = (tmp_path / own / "result.json").read_text()
    for text in ("", "{}", whole.replace('"complete"', '"done"')):
        (tmp_path / own / "result.json").write_text(text)
        assert f"remove {own} to have the trial run again" in door(*words).line


def test_a_password_is_not_written_down(door: Door, tmp_path: Path, unreported: None) -> None:
    url = "study.storage=postgresql://me:secret@localhost:1/db"
    door("-m", "lr=0.1,0.2", "study.name=a", url, *SHORT)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_a_place_that_cannot_be_written_is_one_line(door: Door, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file is a file" in door("-m", "lr=0.1,0.2", "output_root=file", *SHORT).err
    refused = door("-m", "lr=0.1,0.2", "output_root=/proc/nowhere", *SHORT)
    assert refused.code == 1
    assert len(refused.err.splitlines()) == 1


def test_the_threads_of_a_study_are_fixed_when_it_begins(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreported: None
) -> None:
    words = ("-m", "lr=0.1,0.2", "study.name=t", *(word for word in SHORT if not word.startswith("trainer.num")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert door(*words, "study.n_trials=1").code == 0
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert door(*words).code == 0
    for trial in folders(tmp_path, "t"):
        config = yaml.safe_load((tmp_path / "outputs" / "studies" / "t" / trial / "config.yaml").read_text())
        assert config["trainer"]["num_threads"] == 1


def test_the_block_in_conf_has_the_defaults_of_the_code() -> None:
    shipped = yaml.safe_load((ROOT / "conf" / "study" / "_base_.yaml").read_text())
    code = StudyConfig().model_dump()
    assert shipped == {key: value for key, value in code.items() if key != "app"}


def test_a_sweep_that_is_stopped_within_a_trial_goes_on(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreported: None
) -> None:
    """SIGTERM in the seventh step of the second trial: it is saved, the third does not begin, and all ends as if never
    stopped.
    """
    words = ("-m", "lr=0.1,0.2,0.3", "study.name=s", *SHORT)
    assert door(*words, "output_root=whole").code == 0
    real, begun = TrialLoop.on_train_batch_start, []

    def stopping(module: TrialLoop, *arguments: object) -> None:
        real(module, *arguments)
        if module.step == 6:
            begun.append(module)
            if len(begun) == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TrialLoop, "on_train_batch_start", stopping)
        assert door(*words).code == 143
    study = tmp_path / "outputs" / "studies" / "s"
    assert len(begun) == 2
    assert [path.parent.name for path in study.glob("*/result.json")] == ["trial_00000"]
    assert max(path.name for path in study.glob("trial_00001/checkpoints/resume_*")) == "resume_00000007.ckpt"
    assert door(*words).code == 0
    assert trials_csv(tmp_path, "s") == (tmp_path / "whole" / "studies" / "s" / "trials.csv").read_text()


def test_a_sweep_beside_another_of_the_same_study_is_refused(door: Door, tmp_path: Path, unreported: None) -> None:
    words = ("-m", "lr=0.1,0.2", "study.name=s", *SHORT)
    assert door(*words, "study.n_trials=1").code == 0
    with locked(tmp_path / "outputs" / "studies" / "s", "as another does"):
        assert "another sweep of this study is running" in door(*words, "study.n_trials=2").line


def start(folder: Path, *words: str) -> warm.Command:
    """A sweep as a process group of its own, which ends without its report."""
    return warm.start(UNREPORTED, "-m", *words, folder=folder)


@pytest.mark.integration
def test_one_study_whatever_runs_it(door: Door, tmp_path: Path, unreported: None) -> None:
    """In process, in two halves, and killed at random moments and then ended by two workers: the same table, and a
    finished trial is never begun again.
    """
    words = ("optimizer=adam", LR, "study.name=s", "study.n_trials=4", "max_steps=60", *SHORT[:1], *SHORT[2:])
    assert door("-m", *words).code == 0
    whole = trials_csv(tmp_path, "s")

    half = tmp_path / "halves"
    half.mkdir()
    for n_trials in ("2", "4"):
        assert door("-m", *words, f"study.n_trials={n_trials}", f"output_root={half}/outputs").code == 0
    assert trials_csv(half, "s") == whole

    folder = tmp_path / "killed"
    folder.mkdir()
    moments = random.Random(0)
    finished: dict[Path, int] = {}
    for _ in range(6):
        before = written(folder)
        sweep = start(folder, *words)
        while written(folder) == before and sweep.poll() is None:  # importing torch is no moment of interest
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        with suppress(ProcessLookupError):  # the study was over before its sixth kill
            os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()
        assert all(path.stat().st_mtime_ns == then for path, then in finished.items())
        finished = {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    done = warm.run(UNREPORTED, "-m", *joblib, *words, folder=folder)
    assert done.returncode == 0, done.stderr
    assert trials_csv(folder, "s") == whole
    assert all(path.stat().st_mtime_ns == then for path, then in finished.items())


def written(folder: Path) -> int:
    """The last moment at which a run in the folder wrote into its table of evaluations."""
    paths = folder.glob("outputs/studies/s/trial_*/evals.csv")
    return max((path.stat().st_mtime_ns for path in paths), default=0)


@pytest.mark.integration
def test_two_sweeps_of_one_study_do_not_meet(tmp_path: Path) -> None:
    words = (LR, "study.name=s", "study.n_trials=2", "max_steps=20000", "logger=none")
    sweep = start(tmp_path, *words)
    try:
        for _ in range(3000):
            if list(tmp_path.rglob("trial_00000/evals.csv")):
                break
            time.sleep(0.01)
        second = warm.run(ROOT / "train.py", "-m", *words, folder=tmp_path)
        assert second.returncode == 2
        assert "another sweep of this study is running" in second.stderr
    finally:
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()
    shutil.rmtree(tmp_path / "outputs")


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = (LR, "study.name=s", "study.n_trials=2", "max_steps=20000", "eval_every=100", "logger=none")
    sweep = start(tmp_path, *words)
    for _ in range(3000):
        if list(tmp_path.rglob("trial_00000/evals.csv")):
            break
        time.sleep(0.01)
    os.kill(sweep.pid, signal.SIGINT)
    assert sweep.wait(timeout=60) == 130
    study = tmp_path / "outputs" / "studies" / "s"
    written = read_study(study)
    assert written is not None
    assert outcome(study, written.design.trials(1)[0]) is None
    assert list((study / "trial_00000" / "checkpoints").iterdir())
