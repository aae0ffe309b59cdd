"""One trial: `train(config)` takes a checked config to `result.json`."""

from playbook.training.trial import train

__all__ = ["train"]
