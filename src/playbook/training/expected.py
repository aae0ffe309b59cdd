"""The environment that a trial would record, known before it is trained: whether another one has its numbers."""

from __future__ import annotations

from typing import Any

import torch

from playbook.config import Config
from playbook.training.code_hash import code_of
from playbook.training.data import DATA, load_data
from playbook.training.device import choose_device, environment
from playbook.training.distributed import Rank


def expected_environment(config: Config, fingerprints: dict[str, str]) -> dict[str, Any]:
    """`Result.environment` of a trial of this config, if it was trained by this process.

    `fingerprints` are those of data that were looked at before, to which these are added.

    Raises:
        InputError: this machine has no such device, or not these data.
    """
    rank = Rank(0, config.trainer.num_devices)
    device = choose_device(config.trainer.device, config.trainer.precision, rank)
    threads = torch.get_num_threads() if config.trainer.num_threads == "auto" else config.trainer.num_threads
    data = repr(config.data)
    if data not in fingerprints:
        fingerprints[data] = load_data(config.data, reuse=True).fingerprint
    return {**environment(device, rank), "num_threads": threads, **code_of(config), DATA: fingerprints[data]}
