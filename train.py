"""Trains one model into a folder that says how it went: `python train.py [group=option …] [key=value …]`."""

import hydra
from omegaconf import DictConfig

from playbook.cli import one_line_errors, run_cli
from playbook.composition import CONFIG_DIR


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="train")
def main(cfg: DictConfig) -> float | None:
    """One trial; its objective is what Hydra's sweepers see."""
    with one_line_errors():
        from playbook.trial_config import config_of, in_a_study  # not for --help and --cfg job, which check nothing

        config = config_of(cfg)
        from playbook.training import train  # torch and Lightning take seconds: not for what is refused

        return train(config, verbose=not in_a_study(), reuse_data=in_a_study()).objective


if __name__ == "__main__":
    run_cli(main)
