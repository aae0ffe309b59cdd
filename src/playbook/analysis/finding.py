"""A finding: one thing that a study's tables say, with the numbers, the rule that asks for it, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["info", "advice", "problem"]


@dataclass(frozen=True)
class Remedy:
    """What to do about a finding, as command-line words: `('lr=tag(log,interval(1e-5,0.1))',)`.

    `what` is the study again with these words, one of its trials (`trial`) again with them, or a whole command.
    """

    words: tuple[str, ...]
    what: Literal["study", "trial", "command"] = "study"
    trial: int | None = None


@dataclass(frozen=True)
class Finding:
    """What was seen, in one or two sentences with the numbers.

    `code` is one of the contract's, `rule` the playbook's id (`B5`). `arm` and `parameter` are None where the finding
    is about all arms or no parameter. `evidence` holds what the verdict was made of, as JSON can hold it.
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
