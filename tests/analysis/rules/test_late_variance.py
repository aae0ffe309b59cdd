"""What is proposed where validation jumps late in training."""

from dataclasses import replace

import polars as pl
from synthetic_curves import clear
from verdicts_of_curves import check_verdicts

from playbook.analysis.rules import late_variance


def test_a_decay_that_is_there_is_not_proposed():
    tables = clear("noisy")
    (found,) = late_variance.find(tables)
    assert [each.changes for each in found.next] == [{"schedule": "linear"}]
    for last, remedies in ((0.0, 0), (0.1, 1)):
        steps = {int(tables.ranked()["trial"][0]): pl.DataFrame({"step": [0, 1, 2], "lr": [0.05, 0.1, last]})}
        (found,) = late_variance.find(replace(tables, steps=steps))
        assert len(found.next) == remedies
        assert ("decays" in found.message) == bool(remedies)


def test_verdicts_are_right():
    check_verdicts(late_variance.find, "late_variance")
