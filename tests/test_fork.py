"""A fork of its own: made, filled with the files of docs/fork.md, merged with a later upstream, trained and tested."""

from __future__ import annotations

import re
import shutil

import pytest
from command import ROOT
from forks import NAME, edited_of_upstream, files_of, git, make_fork, python

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is missing")

GUIDE = ROOT / "docs/fork.md"
CHANGED_UPSTREAM = ("README.md", "pyproject.toml", "conf/train.yaml", "src/playbook/config.py", "tests/shipped.py")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A fork with everything that the guide shows, merged with an upstream that went on."""
    fork = make_fork(tmp_path_factory.mktemp("fork"), files_of(GUIDE))
    for name in CHANGED_UPSTREAM:
        with (fork.upstream / name).open("a") as file:
            file.write("\n# later\n")
    git(fork.upstream, "commit", "-qam", "later")
    git(fork.folder, "pull", "-q", "--no-rebase", "--no-edit", "origin", "main")
    return fork


@pytest.fixture
def fork(made):
    """Its folder."""
    return made.folder


def test_upstream_merges_and_what_is_the_forks_stays(made, fork):
    assert git(fork, "status", "--porcelain") == ""
    assert all("# later" in (fork / name).read_text() for name in CHANGED_UPSTREAM)
    assert edited_of_upstream(made) == []
    assert len(files_of(GUIDE)) >= 8


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
