"""What Hydra does again for each composition, done once a process: most of the time of a test of one step went there.

It looks for plugins, and executes their modules anew, whenever its singletons are put back; for each composition it
reads the forty files of `conf/` and its own, and merges those of the chosen options. Here the same options are merged
once. What a test wrote, files in any other folder, is read as it is.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig
from omegaconf.basecontainer import BaseContainer

from playbook.composition import CONFIG_DIR


def install(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Plugins, "_scan_all_plugins", staticmethod(_scan_once))
    patch.setattr(ConfigRepository, "load_config", _load_once)
    patch.setattr(CachingConfigRepository, "__init__", _share_sources)
    patch.setattr(config_loader_impl, "create_defaults_list", _create_defaults_once)
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", _merge_once)


@contextmanager
def singletons_kept() -> Iterator[None]:
    """What Hydra remembers of a command is forgotten at the end."""
    instances = {cls: copy.copy(instance) for cls, instance in Singleton._instances.items()}
    resolvers = dict(BaseContainer._resolvers)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        Singleton._instances = instances
        BaseContainer._resolvers = resolvers


_scan_all_plugins = Plugins._scan_all_plugins
_load_config = ConfigRepository.load_config
_create_defaults_list = config_loader_impl.create_defaults_list
_compose_config_from_defaults_list = ConfigLoaderImpl._compose_config_from_defaults_list

_plugins: dict[tuple[str, ...], Any] = {}
_files: dict[object, ConfigResult | None] = {}
_defaults: dict[object, DefaultsList] = {}
_merged: dict[object, bytes] = {}


def _scan_once(modules: list[Any]) -> Any:
    key = tuple(path for module in modules for path in module.__path__)
    if key not in _plugins:
        _plugins[key] = _scan_all_plugins(modules)
    return _plugins[key]


def _load_once(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
    source = repository._find_object_source(config_path, ObjectType.CONFIG)
    if source is None or not _is_ours(source):
        return _load_config(repository, config_path)
    key = _of(source), config_path
    if key not in _files:
        _files[key] = _load_config(repository, config_path)
    return copy.deepcopy(_files[key])  # a plugin's own dataclass cannot be pickled once its module is imported again


def _share_sources(repository: CachingConfigRepository, delegate: IConfigRepository) -> None:
    """Hydra copies them too, which nothing changes."""
    repository.delegate, repository.cache = copy.copy(delegate), {}


def _create_defaults_once(
    repo: IConfigRepository,
    config_name: str | None,
    overrides_list: list[Override],
    prepend_hydra: bool,
    skip_missing: bool,
) -> DefaultsList:
    """A value overrides no option: `lr=0.1` leaves the files to be merged as they are."""
    given = [override for override in overrides_list if not override.is_sweep_override()]
    values = [one for one in given if isinstance(one.value(), dict) or not repo.group_exists(one.key_or_group)]
    options = [override for override in given if override not in values]
    key = (*_key(repo), config_name, tuple(one.input_line for one in options), prepend_hydra, skip_missing)
    if not all(_is_ours(source) for source in repo.get_sources()):
        return _create_defaults_list(repo, config_name, overrides_list, prepend_hydra, skip_missing)
    if key not in _defaults:
        _defaults[key] = _create_defaults_list(repo, config_name, options, prepend_hydra, skip_missing)
    return replace(_defaults[key], config_overrides=values)


def _merge_once(loader: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
    if not all(_is_ours(source) for source in repo.get_sources()):
        return _compose_config_from_defaults_list(loader, defaults, repo)
    key = (*_key(repo), *((default.config_path, default.package, default.primary) for default in defaults))
    if key not in _merged:
        merged = _compose_config_from_defaults_list(loader, defaults, repo)
        try:
            _merged[key] = pickle.dumps(merged)
        except pickle.PicklingError:  # a plugin's own dataclass, once Hydra has imported its module again
            return merged
    return pickle.loads(_merged[key])


def _is_ours(source: ConfigSource) -> bool:
    return source.scheme() != "file" or source.path == CONFIG_DIR


def _of(source: ConfigSource) -> tuple[str, ...]:
    return source.scheme(), source.provider, source.path


def _key(repo: IConfigRepository) -> tuple[object, ...]:
    return tuple(_of(source) for source in repo.get_sources())
