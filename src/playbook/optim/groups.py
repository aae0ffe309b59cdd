"""The parameters of a model in groups: which of them decay, what part they play, and at which share of the rate."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from playbook.errors import InputError

_NORMALISATION = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)  # _NormBase: batch and instance norm, any rank
_HEADS = ("head", "lm_head", "classifier")
_SHOWN_NAMES = 40
LAYER_DECAY = "layer_decay"

Role = Literal["matrix", "head", "embedding", "vector"]
ROLES: tuple[Role, ...] = ("matrix", "head", "embedding", "vector")
Growth = tuple[float, float]
UNGROWN: Growth = (1.0, 1.0)


@dataclass(frozen=True)
class NamedParameter:
    """A parameter, what the model calls it, the part it plays there, and by how much its layer has grown: the inputs
    and the outputs, as times those at the width that the learning rate was tuned at."""

    name: str
    param: nn.Parameter
    role: Role
    growth: Growth = UNGROWN


def named_parameters(module: nn.Module) -> list[NamedParameter]:
    """Every parameter of `module` once, in the model's order, with its role; one that two modules share has one name.

    - `vector`: what weight decay leaves out. The parameters of a normalisation layer, those with "bias" in their name,
      and all that have at most one dimension, which catches a fork's own normalisation layers.
    - `embedding`: the tables of `nn.Embedding` and `nn.EmbeddingBag`, and what has "embed" in its name.
    - `head`: what lies under a module called head, lm_head or classifier; where there is none, the last matrix, unless
      that is an embedding's table.
    - `matrix`: all others, of two dimensions and more: linear layers, convolutions.

    A module in a model that makes up for its width says of its own parameters how they have grown by an attribute
    `fan_growth`, (inputs, outputs): see `playbook.models.parametrization`.
    """
    in_layers: dict[type, set[int]] = {nn.Embedding: set(), nn.LayerNorm: set()}
    for layer in module.modules():
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
            in_layers[nn.Embedding].add(id(layer.weight))
        elif isinstance(layer, _NORMALISATION):
            in_layers[nn.LayerNorm].update(id(param) for param in layer.parameters())
    grown: dict[int, Growth] = {}
    for layer in module.modules():
        inputs, outputs = getattr(layer, "fan_growth", UNGROWN)
        for param in layer.parameters(recurse=False):
            grown.setdefault(id(param), (inputs, outputs) if param.ndim > 1 else (1.0, outputs))
    found = []
    for name, param in module.named_parameters():
        parts = name.split(".")
        role: Role = "matrix"
        if param.ndim <= 1 or id(param) in in_layers[nn.LayerNorm] or "bias" in parts[-1]:
            role = "vector"
        elif id(param) in in_layers[nn.Embedding] or any("embed" in part for part in parts):
            role = "embedding"
        elif any(part in _HEADS for part in parts):
            role = "head"
        found.append(NamedParameter(name, param, role, grown[id(param)]))
    everywhere = list(module.named_parameters(remove_duplicate=False))
    if not any(part in _HEADS for name, _ in everywhere for part in name.split(".")):
        roles = {id(each.param): each.role for each in found}
        last = next((id(param) for _, param in reversed(everywhere) if roles[id(param)] != "vector"), None)
        found = [
            replace(each, role="head") if id(each.param) == last and each.role == "matrix" else each for each in found
        ]
    return found


def parameter_groups(
    module: nn.Module, *, lr: float | None = None, lr_scales: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The parameters of `module` as the groups that any torch optimizer takes, those that should not decay apart.

    Decay pulls a weight matrix towards a simpler function. The scale of a normalisation layer and a bias do not make
    a function simpler by being small, so those of the role `vector` form a group whose `weight_decay` is 0 whatever the
    optimizer's own is. A group without parameters is left out.

    With `lr_scales`, which needs `lr`, the parameters that a name of it selects form groups of their own, whose `lr` is
    that share of `lr`. A name is that of a module or parameter (`head` is `head.3.weight` and all else under it), a
    pattern (`blocks.*.weight`), or else a role; where several select a parameter, their shares are multiplied, so that
    no order is needed. Names within names, as Hydra makes them of `lr_scales.blocks.0=0.5`, are joined by dots.
    `layer_decay` is no name but the share of each layer in the rate of the one after it (Clark et al. 2020, ELECTRA,
    arXiv 2003.10555, appendix A): of L layers, number l has layer_decay^(L − l); see `layers`.

    A group carries `param_names` and `param_roles`, aligned with `params`, and `norm_and_bias=True` where it is exempt,
    by which the optimizers here find it when they are told `decay_norm_and_bias`. Where a parameter has grown with the
    width, `param_growth` says by how much, of which the optimizers make shares of the rate.

    Raises:
        InputError: a name of `lr_scales` selects nothing, or its share is no positive number.
    """
    parameters = named_parameters(module)
    scales = [1.0] * len(parameters)
    for name, scale in _flat(lr_scales or {}):
        if name == LAYER_DECAY:
            numbers = layers([each.name for each in parameters])
            scales = [had * scale ** (max(numbers) - number) for had, number in zip(scales, numbers, strict=True)]
            continue
        for place in selected(name, parameters, key=f"lr_scales.{name}={scale}"):
            scales[place] *= scale
    any_grown = any(each.growth != UNGROWN for each in parameters)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for scale in sorted(set(scales), key=scales.index):
        for is_exempt in (False, True):
            groups[scale, is_exempt] = {"params": [], "param_names": [], "param_roles": []}
            if scale != 1:
                assert lr is not None, "a share of a rate needs the rate"
                groups[scale, is_exempt]["lr"] = lr * scale
            if is_exempt:
                groups[scale, is_exempt] |= {"weight_decay": 0.0, "norm_and_bias": True}
    for each, scale in zip(parameters, scales, strict=True):
        group = groups[scale, each.role == "vector"]
        group["params"].append(each.param)
        group["param_names"].append(each.name)
        group["param_roles"].append(each.role)
        if any_grown:
            group.setdefault("param_growth", []).append(each.growth)
    return [group for group in groups.values() if group["params"]]


def layers(names: Sequence[str]) -> list[int]:
    """The layer of each parameter, counted from the input.

    Where modules are numbered (`encoder.layer.0`, `encoder.layer.1`, …), each is a layer of the longest such row, what
    stands before the row is one layer and what stands after it another: embeddings, blocks, head. Elsewhere the layers
    are the modules of the top.
    """
    rows: dict[str, dict[str, None]] = {}
    for name in names:
        parts = name.split(".")
        for depth, part in enumerate(parts[:-1]):
            if part.isdecimal():
                rows.setdefault(".".join(parts[:depth]), {})[part] = None
    row = max(rows, key=lambda key: len(rows[key]), default="")
    if len(rows.get(row, ())) < 2:
        tops = list(dict.fromkeys(name.partition(".")[0] for name in names))
        return [tops.index(name.partition(".")[0]) for name in names]
    numbers, prefix = list(rows[row]), f"{row}." if row else ""
    found: list[int] = []
    passed = False
    for name in names:
        part = name.removeprefix(prefix).partition(".")[0]
        inside = name.startswith(prefix) and part in rows[row]
        passed = passed or inside
        found.append(numbers.index(part) + 1 if inside else (len(numbers) + 1 if passed else 0))
    return found


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern means a name in a model: `stem.1.weight`, `*.bias`, or a module, `stem`, for all in it."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def selected(name: str, parameters: Sequence[NamedParameter], key: str) -> list[int]:
    """The places of the parameters that a name selects: see `parameter_groups`.

    Raises:
        InputError: there are none; `key` is what the line begins with.
    """
    by_name = [place for place, each in enumerate(parameters) if matches(each.name, name)]
    found = by_name or [place for place, each in enumerate(parameters) if each.role == name]
    if not found:
        names = [each.name for each in parameters]
        modules = {".".join(name.split(".")[:depth]): None for name in names for depth in range(1, name.count(".") + 1)}
        close = difflib.get_close_matches(name, [*modules, *names, *ROLES], n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}? " if close else ""
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        raise InputError(
            f"{key}: no parameter of the model is called that or lies under it; {hint}there are"
            f" {', '.join(names[:_SHOWN_NAMES])}{more}, and the roles {', '.join(ROLES)}"
        )
    return found


def _flat(scales: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Names within names, joined by dots."""
    found: list[tuple[str, float]] = []
    for name, value in scales.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found += _flat(value, f"{path}.")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise InputError(f"lr_scales.{path}={value}: allowed is a finite number > 0")
        else:
            found.append((path, float(value)))
    return found
