"""Is a change real? `python scripts/compare.py candidate=<a run, a study or [overrides]> incumbent=<the same>`."""

from omegaconf import DictConfig, OmegaConf

from playbook.cli import script


@script("compare")
def main(cfg: DictConfig) -> None:
    """Trains both again with new seeds until they can be told apart; writes result.json and index.html."""
    from playbook.procedures.compare_command import compare_command

    print(compare_command(OmegaConf.to_container(cfg, resolve=True)))


if __name__ == "__main__":
    main()
