"""How a step's effect on each layer grows with the width: known exponents, standard and with μP."""

from __future__ import annotations

import math

import pytest

import playbook
from playbook.errors import InputError
from playbook.training.build import build
from playbook.training.coordinate_check import coordinate_changes
from playbook.training.device import choose_device
from playbook.training.distributed import Rank

NARROW, WIDE = 64, 512


def exponents(*words: str) -> dict[str, float]:
    """Of the width, in the change of each layer's outputs by one small step of an MLP."""
    changes = []
    for width in (NARROW, WIDE):
        config = playbook.compose("logger=none", "model.depth=3", f"model.width={width}", *words)
        changes.append({each.layer: each.change for each in coordinate_changes(config, steps=1)})
    narrow, wide = changes
    return {layer: math.log(wide[layer] / narrow[layer]) / math.log(WIDE / NARROW) for layer in narrow}


# The base is so narrow that at either width the first outputs are small: their size is the gradient's too.
MUP = ("model.parametrization=mup", "model.base_width=4")


@pytest.mark.parametrize("words", [("optimizer=adam", "lr=1e-5"), ("optimizer=sgd", "lr=1e-4")])
def test_with_mup_a_step_moves_all_layers_as_far_at_any_width(words):
    found = exponents(*words, *MUP)
    assert list(found) == ["stem.1", "blocks.0.branch.2", "blocks.1.branch.2", "head.3", "output"]
    assert all(abs(found[layer]) < 0.2 for layer in list(found)[:3])
    assert abs(found["output"]) < 0.5  # a factor of 2.4 over 8 times the width: what the first weights still add


def test_standard_adam_moves_all_but_the_first_layer_farther_in_a_wider_network():
    """Each of a layer's entries moves by lr: over n inputs that agree up to n times as far; 0 for the first layer."""
    found = exponents("optimizer=adam", "lr=1e-5")
    assert abs(found["stem.1"]) < 0.2
    assert min(found["blocks.0.branch.2"], found["blocks.1.branch.2"]) > 0.4
    assert found["output"] > 0.9


def test_standard_sgd_moves_the_output_farther_and_the_first_layer_less():
    """Where a gradient that comes from above falls as 1/√n: √n less for the first layer; n more in the last."""
    found = exponents("optimizer=sgd", "lr=1e-4")
    assert found["stem.1"] < -0.4
    assert found["output"] > 0.4


def test_an_optimizer_of_torch_is_refused_where_a_layer_has_grown():
    words = ("logger=none", "~optimizer.momentum", "optimizer._target_=torch.optim.Adam", *MUP)
    strip = ("~optimizer.weight_decay", "~optimizer.decay_norm_and_bias", "~optimizer.decay")
    config = playbook.compose(*words, *strip)
    with pytest.raises(InputError, match=r"^optimizer\._target_=torch\.optim\.Adam: .*parametrization=mup"):
        build(config, Rank(), choose_device("cpu", "32-true", Rank()))
