"""A finding: one thing that a study's tables say, with the numbers, the rule that asks for it, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from playbook.study.space import Dimension, Value

Severity = Literal["info", "advice", "problem"]


@dataclass(frozen=True)
class Remedy:
    """What to do about a finding: the study, or one of its trials (number `trial`), again with changes; or both that
    trial and `incumbent` trained again with new seeds, to tell them apart (B11).

    `changes` has, by config key, the value that it gets or the dimension that is searched in its place:
    `{"lr": Float(1e-5, 0.1, "log"), "max_steps": 400}`. `study.n_trials` alone makes the same study longer. Whether a
    study can have the changes, and what to type for them, is the reader's to say (`report/commands.py`).
    """

    changes: Mapping[str, Dimension | Value]
    what: Literal["study", "trial", "compare"] = "study"
    trial: int | None = None
    incumbent: int | None = None


@dataclass(frozen=True)
class Finding:
    """What was seen, in one or two sentences with the numbers.

    `code` is one of the contract's, `rule` the playbook's id (`B5`). `arm` and `parameter` are None where the finding
    is about all arms or no parameter. `evidence` holds what the verdict was made of, as JSON can hold it: a
    number that is not finite becomes None.
    """

    code: str
    severity: Severity
    rule: str
    message: str
    arm: str | None = None
    parameter: str | None = None
    trials: tuple[int, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    next: tuple[Remedy, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", _finite(self.evidence))


def _finite(value: Any) -> Any:
    """With None for what JSON has not: NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
