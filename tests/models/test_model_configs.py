from __future__ import annotations

import inspect

import pytest
import torch
from omegaconf import OmegaConf
from shipped import CONF, SHIPPED

import playbook.models

CONFIGS = [CONF / "model" / f"{name}.yaml" for name in SHIPPED["model"]]
SUPPLIED = {"input_shape", "num_outputs", "vocab_size"}  # by the program, from the data and the task
NUM_OUTPUTS = 4
TEXT_LENGTH = 16


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def option(request):
    """The class and the keys of a shipped `conf/model` option."""
    keys = OmegaConf.to_container(OmegaConf.load(request.param))
    room, name = keys.pop("_target_").rsplit(".", 1)
    assert room == "playbook.models"
    return getattr(playbook.models, name), keys


def test_there_are_options():
    assert {"cnn", "mlp", "transformer", "vit", "wide_resnet"} <= {path.stem for path in CONFIGS}


def test_every_key_of_a_family_can_be_set_from_the_command_line(option):
    # Hydra refuses an override of a key that the option does not name
    family, keys = option
    assert set(keys) == set(inspect.signature(family).parameters) - SUPPLIED


def test_defaults_in_code_and_config_agree(option):
    family, keys = option
    for name, parameter in inspect.signature(family).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            assert keys[name] == (list(parameter.default) if name == "strides" else parameter.default)


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (TEXT_LENGTH,)], ids=str)
def test_an_option_fits_a_batch(option, input_shape):
    """A few steps on one batch of noise: the loss of every shipped model falls below that of guessing."""
    family, keys = option
    takes_text = "vocab_size" in inspect.signature(family).parameters
    if takes_text != (input_shape == (TEXT_LENGTH,)):
        pytest.skip("images and texts are for different models")
    torch.manual_seed(0)
    if takes_text:
        model = family(input_shape=input_shape, num_outputs=NUM_OUTPUTS, vocab_size=NUM_OUTPUTS, **keys)
        inputs = torch.randint(NUM_OUTPUTS, (16, TEXT_LENGTH))
        targets = (inputs + 1) % NUM_OUTPUTS  # a network this small needs longer to learn 256 tokens of noise by heart
    else:
        model = family(input_shape=input_shape, num_outputs=NUM_OUTPUTS, **keys)
        inputs, targets = torch.randn(16, *input_shape), torch.arange(16) % NUM_OUTPUTS
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(20):
        outputs = model(inputs)
        loss = torch.nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.9 * torch.tensor(float(NUM_OUTPUTS)).log()
