"""Every script that a page names is there, and takes the keys that the page gives it."""

import importlib
import inspect
import re
import shlex

import pytest
import yaml
from command import ROOT

from playbook.composition import CONFIG_DIR

PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"python scripts/(\w+)\.py((?: +(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s`#|)]+))*)")
OF_TRIALS = {*yaml.safe_load((ROOT / "conf" / "train.yaml").read_text()), "model", "data", "optimizer", "schedule"}
OF_TRIALS |= {"experiment", "task", "averaging", "trainer", "logger", "hydra/launcher"}


def commands():
    found = {}
    for page in PAGES:
        for script, words in COMMAND.findall(page.read_text(encoding="utf-8")):
            found.setdefault(f"{script}{words}", (script, words))
    return found


def keys_of(script: str) -> set[str]:
    own = ROOT / "src" / "playbook" / "conf" / f"{script}.yaml"
    if own.exists():
        return set(yaml.safe_load(own.read_text()))
    module = importlib.import_module(f"playbook.procedures.{script}")
    options = inspect.signature(getattr(module, script), eval_str=True).parameters["options"].annotation
    return {*options.model_fields, *OF_TRIALS}


@pytest.mark.parametrize(("script", "words"), commands().values(), ids=list(commands()))
def test_a_command_of_a_page_can_be_typed(script, words):
    assert (ROOT / "scripts" / f"{script}.py").exists()
    for word in shlex.split(words):
        key, assigned, _ = word.partition("=")
        if assigned and not key.startswith(("--", "hydra.")):
            assert key.partition(".")[0] in keys_of(script), f"{script}.py has no key {key}"


def test_there_are_many_commands_and_all_procedures_are_among_them():
    import playbook.procedures

    named = {script for script, _ in commands().values()}
    procedures = {name for name in playbook.procedures.__all__ if name not in ("look", "looks")}
    assert procedures <= named
    assert len(commands()) >= 25
    assert str(ROOT / "conf") == CONFIG_DIR
