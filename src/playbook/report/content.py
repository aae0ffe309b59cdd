"""What a report says, before it is a page, a file or a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playbook.analysis.finding import Finding
from playbook.analysis.tables import Tables


@dataclass(frozen=True)
class Contents:
    """A report.

    `next` has the commands of each finding, `studies` the files that they need, `commands` that of each trial, where it
    can be run again here.
    `conditions` is that of `axes`.
    """

    name: str
    tables: Tables
    findings: Sequence[Finding]
    answer: str
    goal: str = ""
    next: Sequence[tuple[str, ...]] = ()
    studies: Mapping[Path, str] = field(default_factory=dict)
    commands: Mapping[int, str] = field(default_factory=dict)
    conditions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    caveats: Sequence[str] = ()
    plan: str = ""
    provenance: Sequence[tuple[str, str]] = ()
    when: str = ""

    def findings_as_json(self) -> list[dict[str, Any]]:
        """What `findings.json` holds."""
        return [
            {
                "code": finding.code,
                "severity": finding.severity,
                "rule": finding.rule,
                "arm": finding.arm,
                "parameter": finding.parameter,
                "trials": list(finding.trials),
                "message": finding.message,
                "evidence": finding.evidence,
                "next": list(commands),
            }
            for finding, commands in zip(self.findings, self.next, strict=True)
        ]
