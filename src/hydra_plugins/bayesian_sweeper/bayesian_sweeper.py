"""What Hydra imports at the start of every app: the plugin's class and its config, and nothing that takes time.

Without `from __future__ import annotations`, as that of the quasi-random sweeper.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore

from hydra_plugins.quasi_random_sweeper import quasi_random_sweeper

if TYPE_CHECKING:
    from hydra_plugins.bayesian_sweeper._core import BayesianSweep


@dataclass
class BayesianSweeperConf(quasi_random_sweeper.QuasiRandomSweeperConf):
    """`hydra/sweeper=bayesian`: a study whose trials are proposed by a model of those before."""

    _target_: str = "hydra_plugins.bayesian_sweeper.bayesian_sweeper.BayesianSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="bayesian", node=BayesianSweeperConf, provider="bayesian_sweeper"
)


class BayesianSweeper(quasi_random_sweeper.QuasiRandomSweeper):
    """Goes on from the study `study.start`, through any of Hydra's launchers."""

    def _study_sweep(self) -> "BayesianSweep":
        from hydra_plugins.bayesian_sweeper._core import BayesianSweep

        return BayesianSweep(**self._setup, **self._given)
