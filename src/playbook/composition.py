"""What Hydra composes from `conf/` and overrides, and what it refuses, in the user's words.

No torch here, and pydantic only where something is refused: `--help` and `--cfg job` pass through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from playbook.errors import InputError

CONFIG_DIR = str(Path(__file__).parents[2] / "conf")
SCRIPT_CONFIG_DIR = str(Path(__file__).parent / "conf")
"""Where the configs of scripts are, so that scripts work without a checkout."""
OPEN_BLOCKS = {
    "task.metrics": "{_target_: <class>}",
    "trainer.callbacks": "{_target_: <class>}",
    "lr_scales": "<share of lr>",
}
"""Blocks that are empty until a user adds something of a name of their own, and what is added."""


def compose_config(config_name: str, overrides: Sequence[str], config_dir: str = CONFIG_DIR) -> DictConfig:
    """What Hydra composes for these overrides, with its own `hydra` block; inside a `hydra.main` function or outside.

    Raises:
        HydraException, OmegaConfBaseException: `explain` says what is wrong.
    """
    inside = GlobalHydra.instance().is_initialized()
    context = nullcontext() if inside else initialize_config_dir(config_dir, version_base="1.3")
    with context:
        return compose(config_name, overrides=list(overrides), return_hydra_config=True)


@contextmanager
def outside_of_scripts() -> Iterator[None]:
    """Within, configs are composed from `conf/` as from Python, also where a script's `hydra.main` composes its own."""
    own = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        restore_gh_from_backup(own)


def refuse_group_without_option(override: str) -> None:
    """`model=null`: Hydra raises a plain ValueError that does not say which override it means.

    Raises:
        InputError: it is one of a group and names no option.
    """
    if not re.match(r"[\w/]*=", override):
        return
    try:
        (parsed,) = OverridesParser.create().parse_overrides([override])
    except RecursionError:
        raise InputError(f"{override[:40]}…: nested too deeply") from None
    if parsed.is_sweep_override():  # model=mlp,cnn with -m
        return
    group = parsed.key_or_group
    is_group = (Path(CONFIG_DIR) / group).is_dir() or group.startswith("hydra/")
    if is_group and not isinstance(parsed.value(), (str, list)):
        raise InputError(f"{override}: type key=value, for a group the name of an option, or leave it out")


def explain(error: Exception, config_name: str, overrides: Sequence[str], config_dir: str = CONFIG_DIR) -> InputError:
    """Hydra's or OmegaConf's refusal of `overrides` as one line: the key, the value and what is allowed."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return InputError(
            f"{error.override}: type key=value, and quote a value with spaces or special characters: key=\"'a b'\""
        )
    missing = re.search(r"Could not find '([^']*)/([^'/]*)'", text)
    if isinstance(error, MissingConfigException) and missing:
        from playbook.config import OPTIONS_NOT_OFFERED
        from playbook.validation import unknown_key

        group, option = missing.groups()
        if reason := OPTIONS_NOT_OFFERED.get(f"{group}={option}"):
            return InputError(f"{group}={option}: {reason}")
        options = [f"{group}={name}" for name in error.options or []]
        return InputError(unknown_key(f"{group}={option}", options, "option"))
    if key := re.search(r"Missing mandatory value: (\S+)", text):
        return InputError(f"{key.group(1)}: a value is needed; add {key.group(1)}=<value>")
    if key := re.search(r"Could not override '([^']*)'", text):
        return InputError(_unknown_override(key.group(1), config_name, overrides, config_dir))
    if override := re.search(r"Error merging override (.*)", text):
        return InputError(f"{override.group(1)}: of another kind than what the config has there; --cfg job shows it")
    if sweep := re.search(
        r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)'(?: requires|$)", text, re.MULTILINE
    ):
        return InputError(
            f"{sweep[1]}: several values are a study: python train.py -m (--multirun), or playbook.run_study; a list is"
            " written key=[a,b]"
        )
    return InputError(" ".join(text.split()))


def _unknown_override(key: str, config_name: str, overrides: Sequence[str], config_dir: str) -> str:
    """Hydra refuses a key that the config does not have without saying which it has: say it, for these options."""
    from playbook.config import GROUPS, NOT_OFFERED, flatten, settable
    from playbook.validation import unknown_key

    block, _, name = key.rpartition(".")
    given = next((override for override in overrides if override.startswith(f"{key}=")), key)
    if name in NOT_OFFERED and block in ("", "trainer"):
        return f"{given}: {NOT_OFFERED[name]}"
    for open_block, added in OPEN_BLOCKS.items():
        if key == open_block:
            return f"{given}: name each one: '+{open_block}.<name>={added}'"
        if key.startswith(f"{open_block}."):
            return f"{given}: this is new in {open_block}; put a + before it: '+{given}'"
    try:
        plain = _composed_without(key, config_name, overrides, config_dir)
    except (HydraException, OmegaConfBaseException):
        return f"{given}: there is no such key; --cfg job shows those there are"
    if block in GROUPS and block in plain:
        try:
            if settable(plain[block], block, name):
                return f"{given}: the class takes it and the option of {block} does not set it; add it with +{given}"
        except InputError as error:  # of the class
            return str(error)
    if name in NOT_OFFERED:
        return f"{given}: {NOT_OFFERED[name]}"
    known = [leaf for leaf, _ in flatten(plain) if leaf.startswith(f"{block}.")]
    if block == "study" and key in known:
        return f"{given}: the file of this study does not have it; let it begin with defaults: [_base_, _self_]"
    return unknown_key(key, known if block and known else list(plain), given=given)


def _composed_without(key: str, config_name: str, overrides: Sequence[str], config_dir: str) -> dict[str, Any]:
    """The config of the options that were chosen, without the override of `key`, and without Hydra's own block."""
    choices = [word for word in overrides if re.match(r"[\w/]+=", word) and not word.startswith((f"{key}=", "study="))]
    parsed = OverridesParser.create().parse_overrides(choices)
    choices = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
    folders = [str(Path(word.partition("=")[2]).absolute()) for word in overrides if word.startswith("--config-dir=")]
    choices += [f"hydra.searchpath=['file://{folder}']" for folder in folders]
    plain = OmegaConf.to_container(compose_config(config_name, choices, config_dir), resolve=False)
    assert isinstance(plain, dict)
    return {str(name): block for name, block in plain.items() if name != "hydra"}
