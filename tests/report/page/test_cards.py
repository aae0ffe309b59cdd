"""A card a kind of finding: none is lost, the gravest come first, and no problem waits behind "more"."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from playbook.analysis.finding import Finding
from playbook.analysis.rules import SEVERITIES
from playbook.analysis.tables import Tables
from playbook.report.content import Contents
from playbook.report.page.cards import MOST_LINES, cards, screen, what_is_more
from playbook.study.design import Objective

ARMS = [f"arm{number}" for number in range(30)]
TRIALS = pl.DataFrame(
    {"trial": range(30), "arm": ARMS, "status": "complete", "objective": [30.0 - place for place in range(30)]}
)


def contents(findings: list[Finding]) -> Contents:
    """A report of these findings, about 30 arms of which the last is the best."""
    ordered = sorted(findings, key=lambda each: SEVERITIES.index(each.severity))  # as `find_all` has them
    return Contents("n", Tables(TRIALS, Objective()), ordered, "", next=[("do",)] * len(findings))


def findings_of(drawn: list[tuple[int, int, int, int]]) -> list[Finding]:
    return [
        Finding(f"code{code}", SEVERITIES[severity], "B1", f"{place}:{'x' * length}", arm=ARMS[arm])
        for place, (code, severity, arm, length) in enumerate(drawn)
    ]


drawn = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2), st.integers(0, 29), st.integers(1, 400)), max_size=40)


@given(drawn)
def test_every_finding_is_on_one_card_and_every_problem_in_sight(given_findings):
    findings = findings_of(given_findings)
    every = cards(contents(findings))
    shown, more = screen(every)
    assert [*shown, *more] == every
    assert len({card.code for card in every}) == len(every) == len({each.code for each in findings})
    said = [entry.message for card in every for entry in (*card.entries, *card.rest)]
    assert sorted(said) == sorted(each.message for each in findings)
    in_sight = {entry.message for card in shown for entry in card.entries}
    assert {each.message for each in findings if each.severity == "problem"} <= in_sight
    severities = [SEVERITIES.index(card.severity) for card in every]
    assert severities == sorted(severities)
    for card in every:
        own = [SEVERITIES.index(entry.severity) for entry in (*card.entries, *card.rest)]
        assert own == sorted(own)
        assert card.severity == SEVERITIES[own[0]]
    without_problems = [card for card in shown if card.severity != "problem"]
    if len(without_problems) == len(shown) > 1:
        assert sum(card.lines for card in shown) <= MOST_LINES


def test_the_better_arm_comes_first():
    (card,) = cards(contents(findings_of([(0, 1, arm, 5) for arm in (3, 29, 0, 7)])))
    assert [entry.about for entry in (*card.entries, *card.rest)] == ["arm29", "arm7", "arm3", "arm0"]


def test_twenty_arms_with_a_problem_are_all_there():
    (card,) = cards(contents(findings_of([(0, 0, arm, 50) for arm in range(20)])))
    assert len(card.entries) == 20
    assert card.rest == ()


def test_what_opens_the_rest_says_how_many():
    kinds = cards(contents(findings_of([(code, 2, 0, 300) for code in range(9)] + [(9, 1, 0, 900)])))
    shown, more = screen(kinds)
    assert shown[0].severity == "advice"
    assert what_is_more(more) == f"{len(more)} more: {len(more)} for information"
    assert 0 < len(more) < 9
