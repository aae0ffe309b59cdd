"""Which findings about the length of training may stand on one page: this file alone decides.

A study has one number of steps. Where trials overfit, they are to be regularised first, and how many steps are enough
is seen after that; where some are not done, fewer steps are no question; and a rise at the end is no improvement.
"""

from __future__ import annotations

from collections.abc import Sequence

from playbook.analysis.finding import Finding

MORE = frozenset({"still_improving", "best_step_late"})
"""Those that ask for more steps."""
FEWER = frozenset({"saturated", "best_step_early"})
"""Those that ask for fewer."""


def consistent(findings: Sequence[Finding]) -> list[Finding]:
    """The findings without those that others contradict.

    No arm is asked for fewer steps where any arm overfits or needs more, and none for more where it overfits itself.
    What only informs about other trials than the best leaves more steps alone.
    """
    overfitting = [each for each in findings if each.code == "overfitting"]
    grave = {each.arm for each in overfitting if each.severity != "info"}

    def overfits(arm: str | None) -> bool:
        return arm in grave or None in grave or (arm is None and bool(grave))

    kept = [each for each in findings if not (each.code in MORE and overfits(each.arm))]
    if overfitting or any(each.code in MORE for each in kept):
        kept = [each for each in kept if each.code not in FEWER]
    return kept
