"""The pages of docs/howto: their files, written into a fork, train, are killed and resumed, studied and reported."""

from __future__ import annotations

import re
import shutil

import pytest
from command import ROOT
from forks import edited_of_upstream, files_of, git, make_fork, python

from playbook.trial_config import compose

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is missing")

ALL = sorted((ROOT / "docs/howto").glob("*.md"))
PAGES = [page for page in ALL if files_of(page)]
ONE = "multilabel"
"""The page that is tried also where there is no time for all."""
EACH = pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=() if page.stem == ONE else pytest.mark.integration) for page in PAGES],
)


@pytest.fixture(scope="module")
def tried(request, tmp_path_factory):
    """The tests of the pages, and of the options that they add, run in a fork: its output by test."""
    pages = sorted({item.callspec.params["page"] for item in request.session.items if "tried" in item.fixturenames})
    if any("tokenizer" in text for page in pages for text in files_of(page).values()):
        pytest.importorskip("tokenizers", reason="the extra text is missing")
    files = [files_of(page) for page in pages]
    together = {name: text for each in files for name, text in each.items()}
    assert len(together) == sum(map(len, files)), "two pages have a file of the same name"
    fork = make_fork(tmp_path_factory.mktemp("fork"), together)
    tests = ("tests/training/howto_in_a_fork.py", "tests/training/test_shipped_configs.py")
    options = [name.split(".")[0].removeprefix("conf/").replace("/", "-") for name in together if "conf/" in name]
    only = " or ".join([*(f"goes_on and {page.stem}" for page in pages), *options])
    ran = python(fork.folder, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *tests, "-k", only)
    assert edited_of_upstream(fork) == []
    assert git(fork.folder, "status", "--porcelain") == ""
    return ran.stdout


@EACH
def test_it_trains_is_resumed_studied_and_reported(tried, page):
    assert re.search(rf"^PASSED .*goes_on\[{page.stem}\]", tried, re.M), tried[-8000:]


@EACH
def test_the_shipped_tests_train_its_experiment(tried, page):
    options = [re.fullmatch(r"conf/(\w+)/(\w+)\.yaml", name) for name in files_of(page)]
    for option in filter(None, options):
        assert re.search(rf"^PASSED .*test_an_option_trains\[{option[1]}-{option[2]}\]", tried, re.M), tried[-8000:]


@pytest.mark.parametrize("page", [page for page in ALL if page not in PAGES], ids=lambda page: page.stem)
def test_what_a_page_without_files_types_is_a_trial(page):
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) >= 10
    for command in commands:
        _, script, words = command.partition("train.py ")
        assert script, command
        config = compose(*words.split())
        assert config.trainer.num_nodes == (2 if "num_nodes" in words else 1)


def test_a_language_model_is_short():
    """At most 60 lines of Python and 25 of YAML, everything counted."""
    files = files_of(ROOT / "docs/howto/language_model.md")
    for kind, most in ((".py", 60), (".yaml", 25)):
        texts = [text for name, text in files.items() if name.endswith(kind)]
        assert 0 < sum(len(text.splitlines()) for text in texts) <= most
