"""The findings as cards: a card a code, what it says of each arm in it, the gravest first.

What stands before "more" fits a screen. A problem stands there in any case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from playbook.analysis.rules import SEVERITIES
from playbook.report.charts.arms import best_first
from playbook.report.content import Contents
from playbook.study.design import ONLY_ARM
from playbook.text import brief, count

MOST_LINES = 26
"""Of a screen: what is before "more"."""
LINE = 120
"""Characters of a line of a card, on a laptop."""
MOST_IN_A_CARD = 3
"""Entries of a card that are not problems; the others open on request."""
MOST_TRIALS = 6
MOST_OF_A_LIST = 12


@dataclass(frozen=True)
class Entry:
    """One finding. `about` names its arm and hyperparameter, where the study has several."""

    severity: str
    about: str
    message: str
    trials: tuple[int, ...]
    more_trials: int
    commands: tuple[str, ...]
    evidence: tuple[tuple[str, str], ...]

    @property
    def lines(self) -> int:
        """About how many it takes."""
        return math.ceil((len(self.about) + len(self.message)) / LINE) + 1


@dataclass(frozen=True)
class Card:
    """All findings of a code; its severity is the gravest. `rest` opens on request, and has no problem."""

    code: str
    severity: str
    rule: str
    entries: tuple[Entry, ...]
    rest: tuple[Entry, ...]

    @property
    def lines(self) -> int:
        """About how many it takes."""
        return 2 + sum(entry.lines for entry in self.entries) + bool(self.rest)

    @property
    def more(self) -> str:
        """What opens the rest."""
        return f"{count(len(self.rest), 'more').removesuffix('s')} of this kind"


def cards(contents: Contents) -> list[Card]:
    """A card a code, the gravest first; within it the gravest entry, and then that of the better arm, first."""
    rank = {arm: place for place, arm in enumerate(best_first(contents.tables))}
    found: dict[str, list[tuple[tuple[int, int], Entry, str]]] = {}
    for finding, commands in zip(contents.findings, contents.next, strict=True):
        entry = Entry(
            finding.severity,
            " · ".join(each for each in (finding.arm, finding.parameter) if each and each != ONLY_ARM),
            finding.message,
            finding.trials[:MOST_TRIALS],
            max(len(finding.trials) - MOST_TRIALS, 0),
            tuple(commands),
            tuple((key, _evidence(value)) for key, value in finding.evidence.items()),
        )
        order = (SEVERITIES.index(finding.severity), rank.get(finding.arm or "", 0))
        found.setdefault(finding.code, []).append((order, entry, finding.rule))
    made = [_card(code, sorted(entries, key=lambda each: each[0])) for code, entries in found.items()]
    return sorted(made, key=lambda card: SEVERITIES.index(card.severity))


def screen(cards: Sequence[Card]) -> tuple[list[Card], list[Card]]:
    """Those that fit a screen, with every problem; and those behind "more"."""
    shown: list[Card] = []
    for card in cards:
        used = sum(each.lines for each in shown)
        if card.severity != "problem" and shown and used + card.lines > MOST_LINES:
            break
        shown.append(card)
    return shown, list(cards[len(shown) :])


def what_is_more(cards: Sequence[Card]) -> str:
    """`3 more: 1 advice, 2 for information`."""
    numbers = {name: sum(card.severity == name for card in cards) for name in SEVERITIES}
    words = {"problem": "problem", "advice": "advice", "info": "for information"}
    return f"{len(cards)} more: {', '.join(f'{number} {words[name]}' for name, number in numbers.items() if number)}"


def _card(code: str, entries: Sequence[tuple[tuple[int, int], Entry, str]]) -> Card:
    every = [entry for _, entry, _ in entries]
    most = max(MOST_IN_A_CARD, sum(entry.severity == "problem" for entry in every))
    if len(every) == most + 1:
        most += 1  # what opens it would take the line of the one
    return Card(code, every[0].severity, entries[0][2], tuple(every[:most]), tuple(every[most:]))


def _evidence(value: Any) -> str:
    if isinstance(value, list):
        shown = [_evidence(each) for each in value[:MOST_OF_A_LIST]]
        return ", ".join(shown) + (f", … ({len(value)})" if len(value) > MOST_OF_A_LIST else "")
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_evidence(each)}" for key, each in value.items())
    return "–" if value is None else brief(value)
