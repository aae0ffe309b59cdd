"""Studies from the command line: what they run, how they go on, and what they refuse."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml
from command import ROOT, Door, python

from playbook.study.block import StudyBlock
from playbook.study.store import outcome, read_study

SHORT = ("logger=none", "max_steps=20", "eval_every=10", "trainer.num_threads=1", "trainer.device=cpu")
LR = "lr=tag(log,interval(1e-4,1e-1))"


def trials_csv(studies: Path, name: str) -> str:
    return (studies / "outputs" / "studies" / name / "trials.csv").read_text()


def folders(studies: Path, name: str) -> list[str]:
    return sorted(path.name for path in (studies / "outputs" / "studies" / name).glob("trial_*"))


def test_a_study_is_extended_to_its_new_target(door: Door, tmp_path: Path) -> None:
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


def test_a_grid_with_seeds_is_all_of_it(door: Door, tmp_path: Path) -> None:
    assert door("-m", "lr=1e-3,1e-2", "seed=0,1,2", "study.name=grid", *SHORT).code == 0
    table = pl.read_csv(tmp_path / "outputs" / "studies" / "grid" / "trials.csv")
    assert sorted(table.select("lr", "seed").rows()) == [(lr, seed) for lr in (1e-3, 1e-2) for seed in (0, 1, 2)]
    assert table.columns == ["trial", "arm", "status", "objective", "best_step", "seed", "lr"]


def test_the_same_command_without_a_name_finds_its_study(door: Door, tmp_path: Path) -> None:
    for words in (("lr=0.1,0.2", "model.width=8"), ("model.width=8", "lr=0.1,0.2"), ("lr=0.1,0.2", "model.width=9")):
        assert door("-m", *words, *SHORT).code == 0
    assert len(list((tmp_path / "outputs" / "studies").iterdir())) == 2


def test_options_of_groups_are_arms_with_their_own_spaces(door: Door, tmp_path: Path) -> None:
    assert door("-m", "study=optimizers", "study.name=arms", "study.n_trials=5", *SHORT).code == 0
    table = pl.read_csv(tmp_path / "outputs" / "studies" / "arms" / "trials.csv")
    assert table["optimizer"].to_list() == ["nesterov", "adam", "nesterov", "adam", "nesterov"]
    momentum, beta1 = table["optimizer.momentum"].is_not_null(), table["optimizer.beta1"].is_not_null()
    assert momentum.to_list() == [True, False, True, False, True]
    assert (momentum != beta1).all()


def test_a_trial_can_be_run_again_by_its_command(door: Door, tmp_path: Path) -> None:
    """The command that the study prints for its best trial gives the same curves."""
    assert door("-m", "optimizer=adam", LR, "study.name=a", "study.n_trials=2", *SHORT).code == 0
    study = read_study(tmp_path / "outputs" / "studies" / "a")
    assert study is not None
    from playbook.study.grammar import word

    trial = study.design.trials(2)[1]
    words = [*study.design.words, *(word(key, value) for key, value in trial.settings.items())]
    assert door(*words, "output_dir=again").code == 0
    for name in ("evals.csv",):
        there = tmp_path / "outputs" / "studies" / "a" / trial.folder / name
        assert there.read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_third_diverges_and_two_crash(door: Door, tmp_path: Path) -> None:
    """Each outcome is recorded, the others are done, and the exit code is not zero."""
    lrs = "lr=0.01,0.02,0.03,0.04,0.05,0.06,1e37,2e37,3e37"
    crashing = "model.depth=2,-3"  # a depth that is refused: a trial's own fault
    sweep = door("-m", lrs, "study.name=c", "study.n_trials=9", "study.retries=1", *SHORT)
    assert sweep.code == 0
    table = pl.read_csv(tmp_path / "outputs" / "studies" / "c" / "trials.csv")
    statuses = dict(zip(table["lr"], table["status"], strict=True))
    assert {lr for lr, status in statuses.items() if status == "infeasible"} == {1e37, 2e37, 3e37}
    assert set(statuses.values()) == {"complete", "infeasible"}
    assert door("-m", crashing, "study.name=d", *SHORT).code == 2  # found before anything runs


def test_crashes_are_kept_retried_and_run_again(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import playbook.training as training

    real, calls = training.train, []

    def train(config, **named):
        calls.append(config.lr)
        if config.lr in (0.2, 0.4):
            raise RuntimeError(f"a bug at lr={config.lr}")
        return real(config, **named)

    words = ("-m", "lr=0.1,0.2,0.3,0.4", "study.name=c", "study.retries=1", *SHORT)
    monkeypatch.setattr(training, "train", train)
    sweep = door(*words)
    assert sweep.code == 1
    assert sorted(calls) == [0.1, 0.2, 0.2, 0.3, 0.4, 0.4]
    folder = tmp_path / "outputs" / "studies" / "c"
    table = pl.read_csv(folder / "trials.csv")
    assert dict(zip(table["lr"], table["status"], strict=True)) == {
        0.1: "complete",
        0.2: "crashed",
        0.3: "complete",
        0.4: "crashed",
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
    assert set(pl.read_csv(folder / "trials.csv")["status"]) == {"complete"}


def test_where_every_trial_is_refused_alike_nothing_is_left(door: Door) -> None:
    line = door("-m", "data=arrays", "data.path=missing.npz", "lr=0.1,0.2", *SHORT).line
    assert "missing.npz" in line


REFUSED = [
    ("lrr=0.1,0.2", ["lrr=0.1,0.2", "did you mean lr"]),
    ("lr=interval(0.1,0.1)", ["lr=interval(0.1,0.1)", "below"]),
    ("lr=interval(0.2,0.1)", ["lr=interval(0.2,0.1)"]),
    ("lr=tag(log,interval(0,0.1))", ["lr=tag(log,interval(0,0.1))", "above 0"]),
    ("lr=tag(log,choice(0.1,0.2))", ["lr=", "log"]),
    ("lr=0.1,0.2 study.n_trials=-1", ["study.n_trials=-1", "a whole number > 0"]),
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
]


@pytest.mark.parametrize(("words", "parts"), REFUSED, ids=[words or "nothing" for words, _ in REFUSED])
def test_a_bad_design_is_refused_in_one_line(door: Door, words: str, parts: list[str]) -> None:
    short = [word for word in SHORT if word.partition("=")[0] not in words]
    line = door("-m", *words.split(), *short).line
    for part in parts:
        assert part in line


def test_a_study_without_m_is_refused(door: Door) -> None:
    assert "python train.py -m study=learning_rate" in door("study=learning_rate", *SHORT).line


def test_a_changed_study_is_refused_with_the_difference(door: Door) -> None:
    words = ("-m", "optimizer=adam", "study.name=a", "study.n_trials=2")
    assert door(*words, LR, *SHORT).code == 0
    assert "nuisance.lr.max: 0.1 there, 0.2 here" in door(*words, "lr=tag(log,interval(1e-4,0.2))", *SHORT).line
    assert "model.width: 128 there, 64 here" in door(*words, LR, "model.width=64", *SHORT).line
    assert door(*words, LR, *(word for word in SHORT if word != "logger=none"), "logger=wandb").code == 0


def test_the_plan_alone_writes_nothing(door: Door) -> None:
    plan = door("-m", "study=tune_optimizer", "study.n_trials=30", "study.dry_run=true", *SHORT)
    assert plan.code == 0
    assert plan.left_behind == []
    assert "30" in plan.out
    assert "lr" in plan.out


def test_a_list_of_trials(door: Door, tmp_path: Path) -> None:
    trials = "study.trials=[{lr: 0.1, model.width: 8}, {lr: 0.2, optimizer: adam}]"
    assert door("-m", trials, "study.name=l", *SHORT).code == 0
    table = pl.read_csv(tmp_path / "outputs" / "studies" / "l" / "trials.csv")
    assert table.select("lr", "model.width", "optimizer").rows() == [(0.1, 8, None), (0.2, None, "adam")]


def test_the_threads_of_a_study_are_fixed_when_it_begins(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    code = StudyBlock().model_dump()
    assert shipped | {"project": code["project"]} == code


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """A sweep as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "-m", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_one_study_whatever_runs_it(door: Door, tmp_path: Path) -> None:
    """In process, two workers, two halves, and killed at random moments: the same table, no trial trained twice."""
    words = ("optimizer=adam", LR, "study.name=s", "study.n_trials=6", *SHORT)
    assert door("-m", *words).code == 0
    whole = trials_csv(tmp_path, "s")

    half = tmp_path / "halves"
    half.mkdir()
    for n_trials in ("3", "6"):
        assert door("-m", *words, f"study.n_trials={n_trials}", f"output_root={half}/outputs").code == 0
    assert trials_csv(half, "s") == whole

    pool = tmp_path / "pool"
    pool.mkdir()
    done = python(str(ROOT / "train.py"), "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *words, folder=pool)
    assert done.returncode == 0, done.stderr
    assert trials_csv(pool, "s") == whole


def test_killed_at_random_moments(door: Door, tmp_path: Path) -> None:
    """SIGKILL for the sweep and its workers, again and again; a finished trial is never begun again."""
    words = ("optimizer=adam", LR, "study.name=s", "study.n_trials=6", *SHORT)
    assert door("-m", *words).code == 0
    whole = trials_csv(tmp_path, "s")
    folder = tmp_path / "killed"
    folder.mkdir()
    moments = random.Random(0)
    finished: dict[Path, int] = {}
    for kill in range(3):
        launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2") if kill % 2 else ()
        sweep = start(folder, *words, *launcher)
        time.sleep(moments.uniform(1, 9))
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()
        for path, then in finished.items():
            assert path.stat().st_mtime_ns == then
        finished = {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    assert python(str(ROOT / "train.py"), "-m", *words, folder=folder).returncode == 0
    assert trials_csv(folder, "s") == whole
    assert all(path.stat().st_mtime_ns == then for path, then in finished.items())


def test_two_sweeps_of_one_study_do_not_meet(tmp_path: Path) -> None:
    words = (LR, "study.name=s", "study.n_trials=2", "max_steps=100000", "logger=none")
    sweep = start(tmp_path, *words)
    try:
        for _ in range(300):
            if list(tmp_path.rglob("trial_00000/evals.csv")):
                break
            time.sleep(0.1)
        second = python(str(ROOT / "train.py"), "-m", *words, folder=tmp_path)
        assert second.returncode == 2
        assert "another sweep of this study is running" in second.stderr
    finally:
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()
    shutil.rmtree(tmp_path / "outputs")


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = (LR, "study.name=s", "study.n_trials=2", "max_steps=100000", "eval_every=100", "logger=none")
    sweep = start(tmp_path, *words)
    for _ in range(300):
        if list(tmp_path.rglob("trial_00000/evals.csv")):
            break
        time.sleep(0.1)
    os.kill(sweep.pid, signal.SIGINT)
    assert sweep.wait(timeout=60) == 130
    study = tmp_path / "outputs" / "studies" / "s"
    written = read_study(study)
    assert written is not None
    assert outcome(study, written.design.trials(1)[0]) is None
    assert list((study / "trial_00000" / "checkpoints").iterdir())


FOREIGN = """
import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path=None, config_name="app")
def main(cfg: DictConfig) -> float:
    if cfg.x > 0.9:
        return float("nan")
    return (cfg.x - 0.3) ** 2 + cfg.y


if __name__ == "__main__":
    from hydra.core.config_store import ConfigStore

    config = {"defaults": ["_self_", {"override hydra/sweeper": "quasi_random"}], "x": 0.0, "y": 0.0}
    ConfigStore.instance().store(name="app", node=config)
    main()
"""


def test_another_projects_app_has_studies_too(tmp_path: Path) -> None:
    """An app that knows nothing of ours: its return value is the objective, and the study goes on where it was."""
    (tmp_path / "app.py").write_text(FOREIGN)
    words = ("-m", "x=interval(0,1)", "y=0.0,1.0")
    for n_trials in (4, 8):
        done = python("app.py", *words, f"hydra.sweeper.study={{name: f, n_trials: {n_trials}}}", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        table = pl.read_csv(tmp_path / "studies" / "f" / "trials.csv")
        assert len(table) == n_trials
    for row in table.rows(named=True):
        if row["status"] == "complete":
            assert row["objective"] == pytest.approx((row["x"] - 0.3) ** 2 + row["y"], rel=1e-9)
        else:
            assert row["x"] > 0.9
