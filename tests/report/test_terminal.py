"""The terminal shows the same findings, at most a screen of them."""

import io

import pytest
from ended_study import ARMS, PLAIN, begin, end
from rich.console import Console

from playbook.analysis.finding import Finding
from playbook.report.content import Contents
from playbook.report.freshness import is_current
from playbook.report.study_report import contents_of, report
from playbook.report.terminal import show
from playbook.study.load import load_record


def lines(contents: Contents, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    show(contents, console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.fixture
def arms(tmp_path):
    folder = tmp_path / "arms"
    end(folder, ARMS, begin(folder, ARMS, 24))
    return folder


def rows(text: list[str], width: int) -> int:
    """How many rows of a terminal: a longer line goes on in the next."""
    return sum(max(1, -(-len(line) // width)) for line in text)


@pytest.mark.parametrize("design", [PLAIN, ARMS], ids=["plain", "arms"])
@pytest.mark.parametrize("ended", [0, 1, 24])
@pytest.mark.parametrize("width", [80, 200])
def test_at_most_a_screen(tmp_path, design, ended, width):
    end(tmp_path, design, begin(tmp_path, design, 24)[:ended])
    contents = contents_of(load_record(tmp_path), tmp_path / "report")
    assert rows(lines(contents, width), width) <= 23  # and the path of the page is the 24th


def test_many_findings_are_counted(arms):
    contents = contents_of(load_record(arms), arms / "report")
    many = tuple(
        Finding("overfitting", "advice", "B8", f"Number {place} is " + "very " * 30 + "wrong.") for place in range(40)
    )
    text = lines(Contents(contents.name, contents.tables, many, contents.answer, next=((),) * 40))
    assert rows(text, 80) <= 23
    shown = sum("Number" in line for line in text)
    assert f"{40 - shown} more in index.html" in text


def test_it_says_the_answer_and_what_the_page_says(arms, capsys):
    contents = contents_of(load_record(arms), arms / "report")
    text = " ".join(" ".join(lines(contents, 200)).split())
    assert contents.answer in text
    gravest = contents.findings[0]
    assert gravest.severity in text
    assert gravest.message.partition(". ")[0].rstrip(".") in text


def test_a_command_is_one_line_to_copy(arms):
    contents = contents_of(load_record(arms), arms / "report")
    commands = [command for each in contents.next for command in each if len(command) > 80]
    assert commands
    text = lines(contents)
    printed = [line.strip() for line in text if line.strip().startswith("python ")]
    assert printed
    assert set(printed) <= {command for each in contents.next for command in each}


def test_markup_in_a_name_is_text(arms):
    contents = contents_of(load_record(arms), arms / "report")
    hostile = Finding("x", "problem", "B5", "[red]not red[/red] [/]", arm="[link=x]")
    text = lines(Contents("[bold]name[/]", contents.tables, (hostile,), "[/nothing]", next=((),)))
    assert "[bold]name[/]" in text[0]
    assert any("[red]not red[/red] [/]" in line for line in text)


def test_report_writes_the_page_and_prints(arms):
    console = Console(file=io.StringIO(), width=80)
    page = report(arms, console=console)
    assert page == arms / "report" / "index.html"
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert (arms / "report" / "summary.txt").read_text() == printed
    assert is_current(load_record(arms))
