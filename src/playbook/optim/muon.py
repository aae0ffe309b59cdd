"""Muon: hidden matrices by orthogonalised momentum, all else by AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch.optim.optimizer import ParamsT

from playbook.optim import rules
from playbook.optim.base import Bucket, DecayBy, Optimizer, part_of
from playbook.optim.groups import NamedParameter, selected
from playbook.optim.optimizers import Decay, adaptive_update


class Muon(Optimizer):
    """Momentum whose matrices are orthogonalised (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

    Each matrix goes the same length in all directions that its gradients have, also in those of small singular values.
    That is for hidden layers. Which parameters they are goes by the role that `groups.named_parameters` gives: `matrix`
    by Muon with `lr`; `embedding`, `head` and `vector` (and whatever has less than two dimensions) by AdamW with
    `adamw_lr` and its own β and ε. `muon` and `adamw` name parameters, modules, patterns or roles for which that is to
    be otherwise. Both rates follow the schedule; both kinds have the same `weight_decay`.

    The matrices' rule is that of `torch.optim.Muon`, which takes nothing but matrices; the rest's that of `AdamW`.
    """

    _OF_MATRICES: ClassVar[Mapping[str, float | None]] = {"velocity": 0.0}
    _OF_THE_REST: ClassVar[Mapping[str, float | None]] = {"first_moment": 0.0, "second_moment": 0.0}

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        momentum: Decay = 0.95,
        nesterov: bool = True,
        newton_schulz_steps: Annotated[int, Field(ge=1, le=99)] = 5,
        match_rms: rules.MatchRMS = "spectral",
        adamw_lr: PositiveFloat = 3e-4,
        adamw_beta1: Decay = 0.9,
        adamw_beta2: Decay = 0.95,
        adamw_epsilon: PositiveFloat = 1e-10,
        muon: tuple[str, ...] = (),
        adamw: tuple[str, ...] = (),
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = False,
        decay: DecayBy = "lr",
    ) -> None:
        self._nesterov, self._newton_schulz_steps, self._match_rms = nesterov, newton_schulz_steps, match_rms
        self._adamw_share = adamw_lr / lr
        self._named = {"muon": muon, "adamw": adamw}
        hyperparameters = {
            "lr": lr,
            "momentum": momentum,
            "beta1": adamw_beta1,
            "beta2": adamw_beta2,
            "epsilon": adamw_epsilon,
            "weight_decay": weight_decay,
        }
        super().__init__(params, hyperparameters, decay_norm_and_bias, decay)

    def _split_groups(self) -> None:
        """Each group as two, of which one is Muon's.

        Raises:
            InputError: a name selects no parameter, or one that is no matrix for Muon.
        """
        parameters = [
            NamedParameter(name, param, role)
            for group in self.param_groups
            for param, name, role in zip(
                group["params"],
                group.get("param_names", [""] * len(group["params"])),
                group.get("param_roles", ["matrix" if param.ndim >= 2 else "vector" for param in group["params"]]),
                strict=True,
            )
        ]
        by_muon = [each.role == "matrix" for each in parameters]
        for rule, names in self._named.items():
            for name in names:
                for place in selected(name, parameters, key=f"optimizer.{rule}={name}"):
                    by_muon[place] = rule == "muon" and parameters[place].param.ndim >= 2
        muons = {id(each.param) for each, is_muon in zip(parameters, by_muon, strict=True) if is_muon}
        parted = []
        for group in self.param_groups:
            for is_muon in (True, False):
                kept = [place for place, param in enumerate(group["params"]) if (id(param) in muons) == is_muon]
                if kept:
                    part = part_of(group, kept) | {"rule": "muon" if is_muon else "adamw"}
                    if not is_muon:
                        part |= {key: group[key] * self._adamw_share for key in ("lr", "peak_lr") if key in group}
                    parted.append(part)
        self.param_groups = parted

    def lr_share(self, inputs: float, outputs: float, group: Mapping[str, Any]) -> float:
        """AdamW's for the rest. A matrix has all of the rate where its update's spectral norm is √(outputs / inputs),
        as that of the `spectral` one is (Yang, Simon and Bernstein 2023, arXiv 2310.17813, condition 1)."""
        if group["rule"] == "adamw":
            return 1 / inputs
        return 1.0 if self._match_rms == "spectral" else math.sqrt(outputs / inputs / max(inputs, outputs))

    def begins(self, group: Mapping[str, Any]) -> Mapping[str, float | None]:
        """A velocity for a matrix; the two moments for all else."""
        return self._OF_MATRICES if group["rule"] == "muon" else self._OF_THE_REST

    def update(self, bucket: Bucket, group: Mapping[str, Any]) -> None:
        """`rules.muon` for matrices, `rules.adam_corrected_epsilon` for the rest."""
        if group["rule"] == "muon":
            rules.muon(
                bucket.params,
                bucket.grads,
                bucket.state["velocity"],
                lr=group["lr"],
                momentum=group["momentum"],
                nesterov=self._nesterov,
                newton_schulz_steps=self._newton_schulz_steps,
                match_rms=self._match_rms,
            )
        else:
            adaptive_update(rules.adam_corrected_epsilon, bucket, group)
