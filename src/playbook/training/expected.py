"""The environment that a trial would record, known before it is trained: whether another one has its numbers."""

from __future__ import annotations

from typing import Any

import torch

from playbook.config import Config
from playbook.training.code_hash import code_of
from playbook.training.data import DATA, load_data
from playbook.training.device import choose_device, environment
from playbook.training.initial_weights import INIT_FROM, load_initial_weights
from playbook.training.nodes import first_rank


def expected_environment(config: Config, fingerprints: dict[str, str]) -> dict[str, Any]:
    """`Result.environment` of a trial of this config, if it was trained by this process.

    `fingerprints` are those of data and initial weights that were looked at before, to which these are added: a study
    asks for each of its trials.

    Raises:
        InputError: this machine has no such device, or not these data.
    """
    rank = first_rank(config.trainer)
    device = choose_device(config.trainer.device, config.trainer.precision, rank)
    threads = torch.get_num_threads() if config.trainer.num_threads == "auto" else config.trainer.num_threads
    data = repr(config.data)
    if data not in fingerprints:
        fingerprints[data] = load_data(config.data, reuse=True).fingerprint
    read = {DATA: fingerprints[data]}
    if config.init_from is not None:
        weights = f"init_from={config.init_from}"
        if weights not in fingerprints:
            fingerprints[weights] = load_initial_weights(config.init_from).fingerprint()
        read[INIT_FROM] = fingerprints[weights]
    return {**environment(device, rank), "num_threads": threads, **code_of(config), **read}
