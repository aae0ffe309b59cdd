"""A fork of its own: made, filled with the files of docs/fork.md, merged with a later upstream, trained and tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is missing")

NAME = "mine"
AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@example.com")
CHANGED_UPSTREAM = ("README.md", "pyproject.toml", "conf/train.yaml", "src/playbook/config.py", "tests/shipped.py")


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *AUTHOR, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def python(fork: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(fork / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=fork, env=environment, capture_output=True, text=True)


def files_of_the_guide() -> dict[str, str]:
    """The files that docs/fork.md shows, by their path, which is their first line."""
    guide = (ROOT / "docs/fork.md").read_text()
    return dict(re.findall(r"^```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)^```", guide, re.M | re.S))


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    """A fork with everything that the guide shows, merged with an upstream that went on."""
    upstream, fork = tmp_path_factory.mktemp("upstream"), tmp_path_factory.mktemp("fork") / "fork"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (upstream / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, upstream / name)
    git(upstream, "init", "-q", "-b", "main")
    git(upstream, "add", "-A")
    git(upstream, "commit", "-qm", "as it stands")
    git(upstream.parent, "clone", "-q", str(upstream), str(fork))
    made = python(fork, "scripts/new_project.py", NAME)
    assert made.returncode == 0, made.stdout + made.stderr
    for name, text in files_of_the_guide().items():
        assert not (fork / name).exists(), name
        (fork / name).write_text(text)
    git(fork, "add", "-A")
    git(fork, "commit", "-qm", "ours")
    for name in CHANGED_UPSTREAM:
        with (upstream / name).open("a") as file:
            file.write("\n# later\n")
    git(upstream, "commit", "-qam", "later")
    git(fork, "pull", "-q", "--no-rebase", "--no-edit", "origin", "main")
    return fork


def test_upstream_merges_and_what_is_the_forks_stays(fork):
    assert git(fork, "status", "--porcelain") == ""
    assert all("# later" in (fork / name).read_text() for name in CHANGED_UPSTREAM)
    changed = git(fork, "diff", "--name-only", "--diff-filter=MD", "origin/main", "HEAD").split()
    assert changed == []  # nothing of upstream's was edited
    assert len(files_of_the_guide()) >= 8


def test_the_shipped_tests_train_the_forks_options_and_its_own_tests_pass(fork):
    tests = (f"tests/{NAME}", "tests/training/test_shipped_configs.py", "tests/test_config.py")
    ran = python(fork, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", NAME)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    options = list((fork / "conf").rglob(f"{NAME}*.yaml"))
    (count,) = re.findall(r"(\d+) passed", ran.stdout)
    assert int(count) >= 2 * len(options) + 3  # each composed, each trained, and the three of the example


def test_a_name_that_cannot_be_is_refused_in_a_line(fork):
    before = git(fork, "status", "--porcelain")
    for name in ("", "1st", "Mine", "class", "playbook", "json", "torch", NAME, "other"):
        refused = python(fork, "scripts/new_project.py", *([name] if name else []))
        assert refused.returncode == 2, name
        assert len(refused.stdout.splitlines()) == 1, refused.stdout
        assert refused.stdout.startswith("error: "), name
    assert git(fork, "status", "--porcelain") == before


def test_help_is_no_name(fork):
    shown = python(fork, "scripts/new_project.py", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "NAME=" in shown.stdout.splitlines()[0]


def test_a_command_line_does_not_extend_trust(fork):
    words = ("train.py", "model._target_=os.system", "+packages=[os]", "logger=none")
    refused = python(fork, *words)
    assert refused.returncode == 2
    assert "error: " in refused.stderr
