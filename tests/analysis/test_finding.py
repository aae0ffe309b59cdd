"""A finding can be written down as JSON."""

import math

from playbook.analysis.finding import Finding


def test_evidence_has_none_for_what_json_cannot_hold():
    evidence = {"trials": [{"trial": 1, "x": math.nan, "y": -math.inf, "z": 0.5}], "ends": (math.inf, 2)}
    found = Finding("code", "info", "B5", "message", evidence=evidence)
    assert found.evidence == {"trials": [{"trial": 1, "x": None, "y": None, "z": 0.5}], "ends": [None, 2]}
