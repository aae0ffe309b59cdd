"""`init_from=…`: the weights that a trial begins with, from a file or from another run.

Weights alone: the optimizer begins anew. A file cannot run code: safetensors hold tensors, and all else is read as
tensors and plain containers. Every name has to fit, but for those that `init_skip` leaves as they were initialised.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from playbook.config import Config
from playbook.errors import InputError, one_line
from playbook.run_files import CHECKPOINTS, CONFIG, Result
from playbook.training.checkpoints import best_path, is_sealed, local_path, verify
from playbook.training.data import refuse_another_source
from playbook.training.load import load_run
from playbook.training.name_patterns import matching, shown

INIT_FROM = "init_from"
"""The entry of a result's and a checkpoint's environment that holds the fingerprint of the initial weights."""
_WITHIN = ("state_dict", "model", "model_state_dict")
"""Where files of PyTorch have a state dict that is not the whole of them."""


@dataclass(frozen=True)
class InitialWeights:
    """The tensors of a file by their names there; `place` is how the config calls it."""

    place: str
    tensors: Mapping[str, Tensor]

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the names, types, shapes and values, whatever the file they are in."""
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @torch.no_grad()
    def put_into(self, model: nn.Module, skip: Sequence[str]) -> None:
        """Copy them into `model`, in its precision; the names that match `skip` stay as they are in the model.

        Raises:
            InputError: names are missing, are in the file alone, or have other shapes; or a pattern matches nothing.
        """
        state: dict[str, Tensor] = model.state_dict(keep_vars=True)
        given = _of_the_model(self.tensors, state)
        skipped = matching([*state, *(name for name in given if name not in state)], skip, "init_skip")
        wanted = {name: tensor for name, tensor in state.items() if name not in skipped}
        shared = {id(tensor) for name, tensor in wanted.items() if name in given}  # safetensors hold tied ones once
        faults = {
            "missing there": [
                name for name, tensor in wanted.items() if name not in given and id(tensor) not in shared
            ],
            "only there": [name for name in given if name not in state and name not in skipped],
            "of another shape": [
                f"{name} {tuple(given[name].shape)} there, {tuple(tensor.shape)} here"
                for name, tensor in wanted.items()
                if name in given and given[name].shape != tensor.shape
            ],
        }
        if any(faults.values()):
            said = "; ".join(f"{what}: {shown(names)}" for what, names in faults.items() if names)
            raise InputError(
                f"init_from={self.place} does not fit the model ({said});"
                " init_skip=[<name, pattern or module>, …] leaves those as initialised"
            )
        for name, tensor in wanted.items():
            if name in given:
                tensor.copy_(given[name])


def load_initial_weights(place: str) -> InitialWeights:
    """The weights of a file (`.safetensors`, a checkpoint of this program, or any file of PyTorch), or of the best
    evaluation of the run in a folder.

    Raises:
        InputError: there is no such file, it is damaged, or it holds something else than named tensors.
    """
    try:
        path = local_path(place)
        if path.is_dir():
            return InitialWeights(place, _of_run(path))
        if not path.is_file():
            raise InputError("there is no such file or folder")
        return InitialWeights(place, _of_safetensors(path) if path.suffix == ".safetensors" else _of_torch(path))
    except InputError as error:
        raise InputError(f"init_from={place}: {str(error).removeprefix(f'{place}: ')}") from error


def refuse_other_weights(folder: Path, config: Config, result: Result) -> str:
    """`refuse_another_source` of the initial weights."""
    if (place := config.init_from) is None:
        return ""
    return refuse_another_source(
        folder,
        config,
        then=(result.environment or {}).get(INIT_FROM),
        now=lambda: load_initial_weights(place).fingerprint(),
        what="initial weights",
        given=f"init_from={place}",
    )


def _of_run(folder: Path) -> Mapping[str, Tensor]:
    if not (folder / CONFIG).is_file():
        raise InputError(f"this folder holds no run ({CONFIG} is missing); name the file of the weights")
    run = load_run(folder)
    if not run.best_steps:
        raise InputError("no checkpoint of it was kept (keep_best)")
    verify(best_path(folder / CHECKPOINTS, run.best_steps[0]))
    return run.model().model.state_dict()


def _of_safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"it is damaged or no file of safetensors ({one_line(error)})") from error


def _of_torch(path: Path) -> Mapping[str, Tensor]:
    if is_sealed(path):
        verify(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own for a file that is none
        # torch's own words go on to say how to let a file run code
        found = re.search(r"GLOBAL (\S+)", str(error))
        held = f"{found.group(1)}, which could run code" if found else "more than tensors and plain containers"
        raise InputError(f"it is damaged, or holds {held}") from error
    candidates = [content, *(content.get(key) for key in _WITHIN)] if isinstance(content, dict) else []
    for candidate in candidates:
        if _is_state_dict(candidate):
            return cast("Mapping[str, Tensor]", candidate)
    raise InputError(f"it holds no state dict: named tensors, by themselves or under {', '.join(_WITHIN)}")


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0 and all(isinstance(each, Tensor) for each in value.values())


def _of_the_model(tensors: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Those of the model, as it calls them: a LightningModule's file has them under `model.`, with others beside."""
    prefix = "model."
    if any(name.startswith(prefix) for name in tensors) and not any(name.startswith(prefix) for name in own):
        return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
    return dict(tensors)
