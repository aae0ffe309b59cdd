"""A name that is gone is gone everywhere: in code, configs, messages and docs. Names are the field's own words."""

from __future__ import annotations

import re
import subprocess

import pytest
from command import ROOT

GONE = (
    *(
        "playbook.records",
        "playbook.door",
        "playbook.template",
        "training.tasks",
        "training.wandb_mirror",
        "training.mirror",
    ),
    *("study.grammar", "study.again", "study.engine", "study.block", "study.project", "study.store", "optuna_store"),
    *("analysis.findings", "analysis.outside", "analysis.scores", "report.current", "report.outside_report"),
    *(
        "open_door",
        "compose_trial",
        "trial_words",
        "sweep_word",
        "NoMirror",
        "WandbMirror",
        "StudyBlock",
        "TRUSTED_PREFIXES",
    ),
)
TEXT = (".py", ".yaml", ".md", ".toml", ".ipynb", ".yml", ".html", ".js")
TRANSLATED = "src/playbook/renamed.py"
"""The one place that knows old class paths, so that what was stored before can be read."""


@pytest.fixture(scope="module")
def texts():
    """Every text of the checkout by its path, without this file, the history and what was stored before."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    left_out = ("tests/test_names.py", "CHANGELOG.md", TRANSLATED)
    kept = [name for name in listed if name.endswith(TEXT) and name not in left_out and "fixtures" not in name]
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in kept if (ROOT / name).is_file()}


@pytest.mark.parametrize("name", GONE)
def test_no_old_name_lives_on(texts, name):
    old = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    assert [path for path, text in texts.items() if old.search(text)] == []
