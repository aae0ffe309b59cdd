"""What a study whose trials are proposed has beside its space: what the model was told, and what it has proposed (B12).

Points of a quasi-random study follow from its design. Proposals follow from results as well, and from the version of
whatever proposes them; so each is written into `study.yaml` before it is trained, and is never computed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from playbook.study.space import Value
from playbook.text import count


@dataclass(frozen=True)
class Told:
    """A trial of another study, as a setting of this one's space; `objective` is None where it was infeasible."""

    trial: int
    settings: Mapping[str, Value]
    objective: float | None


@dataclass(frozen=True)
class Bayesian:
    """How a study searches that does so by a model of its results.

    `start` is the folder of the study that it begins with, empty where there is none, and `told` are the trials of that
    one as they were then: it may grow. The first `num_quasi_random` points are those of the sequence, and then come
    those `proposed`.
    """

    start: str = ""
    told: tuple[Told, ...] = ()
    num_quasi_random: int = 0
    proposed: tuple[Mapping[str, Value], ...] = ()

    @property
    def num_points(self) -> int:
        """How many points are known."""
        return self.num_quasi_random + len(self.proposed)

    def best_told(self, mode: Literal["min", "max"]) -> Told | None:
        """The best of the trials told; None where none was feasible."""
        sign = 1 if mode == "min" else -1
        feasible = [each for each in self.told if each.objective is not None]
        return min(feasible, key=lambda each: sign * (each.objective or 0.0), default=None)

    def words(self) -> str:
        """`Bayesian search (B12) after 14 trials of outputs/studies/demo`."""
        first = [f"{count(len(self.told), 'trial')} of {self.start}"] if self.told else []
        first += [f"{count(self.num_quasi_random, 'quasi-random point')}"] if self.num_quasi_random else []
        return f"Bayesian search (B12) after {' and '.join(first)}"

    def plain(self) -> dict[str, Any]:
        """As `study.yaml` holds it."""
        return {
            "start": self.start,
            "told": [{"trial": each.trial, **_plain(each)} for each in self.told],
            "num_quasi_random": self.num_quasi_random,
            "proposed": [dict(each) for each in self.proposed],
        }

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Bayesian:
        """What `plain` gave."""
        told = tuple(Told(each["trial"], each["settings"], each["objective"]) for each in given["told"])
        return cls(given["start"], told, given["num_quasi_random"], tuple(given["proposed"]))


def _plain(told: Told) -> dict[str, Any]:
    return {"settings": dict(told.settings), "objective": told.objective}
