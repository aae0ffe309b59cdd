"""Whether the trials of a study saw the same data: one that is extended after its files were replaced mixes two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from playbook.study.study_files import Outcome


def other_data(outcomes: Iterable[Outcome]) -> str:
    """One line on the trials that saw other data than the first one of the same `data` settings; nothing for none.

    What data a trial saw is the fingerprint in its result; results of before there was one say nothing.
    """
    trials_of: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for outcome in sorted(outcomes, key=lambda outcome: outcome.trial.number):
        environment = (outcome.result.environment if outcome.result else None) or {}
        if "data" in environment:
            settings = {k: v for k, v in outcome.trial.settings.items() if k.partition(".")[0] == "data"}
            trials_of[str(sorted(settings.items()))][str(environment["data"])].append(outcome.trial.number)
    others = sorted(
        number for by_data in trials_of.values() for trials in list(by_data.values())[1:] for number in trials
    )
    if not others:
        return ""
    shown = ", ".join(map(str, others[:10])) + (", …" if len(others) > 10 else "")
    return (
        f"{len(others)} trials ({shown}) saw other data than the first: the files have changed since, and what"
        " differs between the trials may be the data (B2)"
    )
