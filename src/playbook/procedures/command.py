"""The command line of a procedure: a Hydra app over `conf/`, whose keys are those of `train.py` and its options."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from playbook.cli import one_line_errors, run_cli
from playbook.composition import CONFIG_DIR, outside_of_scripts
from playbook.errors import InputError
from playbook.procedures.call import Options
from playbook.study.overrides import override_key
from playbook.validation import show, validate


def procedure_script(name: str) -> Callable[[], NoReturn]:
    """The command line of the procedure `name`: module `playbook.procedures.<name>` with a function of that name.

    The function takes `*words, options`; the class of its options is the annotation of `options`, and the module's
    docstring is what `--help` says first.
    """
    module = importlib.import_module(f"playbook.procedures.{name}")
    procedure = getattr(module, name)
    schema = inspect.signature(procedure, eval_str=True).parameters["options"].annotation
    ConfigStore.instance().store(name=name, node=_config(name, schema, module.__doc__ or ""))

    @hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name=name)
    def work(cfg: DictConfig) -> None:
        with one_line_errors():
            plain = {
                key: OmegaConf.to_container(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key]
                for key in schema.model_fields
            }
            options = validate(schema, plain)
            words = _words_of_trials(schema)
            with outside_of_scripts():
                procedure(*words, options=options)

    def main() -> None:
        _refuse_flags(name)
        work()

    return lambda: run_cli(main, name)


def _words_of_trials(schema: type[Options]) -> list[str]:
    """What was typed for the trials: all but the options, and the launcher."""
    typed = HydraConfig.get().overrides
    own = [str(word) for word in typed.task if override_key(word) not in schema.model_fields]
    launcher = ("hydra/launcher", "hydra.launcher")
    return [*own, *(str(word) for word in typed.hydra if word.lstrip("+").startswith(launcher))]


def _refuse_flags(name: str) -> None:
    for word in sys.argv[1:]:
        if word in ("-m", "--multirun"):
            raise InputError(f"{word}: scripts/{name}.py runs its own studies; leave it out")
        if word.startswith(("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")):
            raise InputError(f"{word}: the trials of scripts/{name}.py are composed from conf/; put the file there")


def _config(name: str, schema: type[Options], description: str) -> dict[str, Any]:
    fields = schema.model_fields
    defaults = validate(schema, {}).model_dump()
    typed = [f"{key}={show(defaults[key])}" for key in fields]
    width = max(map(len, typed))
    keys = "\n".join(
        f"  {word:{width}}  {field.description or ''}".rstrip()
        for word, field in zip(typed, fields.values(), strict=True)
    )
    of_trials = "and the groups and keys of train.py, for its trials"
    said = f"{description.strip()}\n\n== Keys (key=value) ==\n{keys}\n\n{of_trials}"
    help_block = {"app_name": f"{name}.py", "template": said}
    return {"defaults": ["train", "_self_"], **defaults, "hydra": {"help": help_block}}
