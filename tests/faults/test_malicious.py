"""Files that somebody else put into a run's folder: none of them runs anything."""

from __future__ import annotations

import http.server
import os
import pickle
import shutil
import threading
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from conftest import config_of

import playbook
from faults.state import difference, digest, left_over
from playbook.errors import InputError
from playbook.training import resume, train
from playbook.training.checkpoints import SafeCheckpointIO, best_path, resume_path, verify

COMMAND = ("model.width=8", "max_steps=20", "eval_every=5")


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self._canary),)


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / "canary"
    # The payload works: what is tested is that nobody opens it.
    pickle.loads(pickle.dumps(Payload(path)))
    path.rmdir()
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Path:
    """A finished run that nobody touched."""
    folder = tmp_path_factory.mktemp("malicious") / "twin"
    train(config_of(folder, *COMMAND), verbose=False)
    return folder


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> Path:
    """A run's folder as it is between its last commit and its result."""

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    folder = tmp_path_factory.mktemp("malicious") / "committed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "write_result", kill)
        with pytest.raises(Killed):
            train(config_of(folder, *COMMAND), verbose=False)
    return folder


@pytest.fixture
def unfinished(committed, tmp_path) -> Path:
    return shutil.copytree(committed, tmp_path / "run")


def sealed(path: Path, content) -> None:
    """Write what this program's own code would, checksum and all."""
    SafeCheckpointIO().save_checkpoint(content, path)
    verify(path)


def unsealed(path: Path, content) -> None:
    torch.save(content, path)


def plain_pickle(path: Path, content) -> None:
    path.write_bytes(pickle.dumps(content))


def also_a_script(path: Path, content) -> None:
    """TorchScript archives are told by a file in the zip; torch.load then goes another way."""
    torch.save(content, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", pickle.dumps(content))


@pytest.mark.parametrize("write", [sealed, unsealed, plain_pickle, also_a_script])
def test_a_payload_as_the_checkpoint_to_resume_from_is_passed_over(
    trial_config, twin, unfinished, canary, capsys, write
):
    write(resume_path(unfinished / "checkpoints", 20), {"history": Payload(canary)})
    train(trial_config(*COMMAND), verbose=False)
    assert "going on from the commit before it" in capsys.readouterr().err
    assert difference(digest(twin), digest(unfinished)) == []


@pytest.mark.parametrize("write", [sealed, unsealed])
def test_a_payload_of_a_later_step_and_in_every_generation_is_passed_over(
    trial_config, twin, unfinished, canary, write
):
    for step in (15, 20, 99999999):
        write(resume_path(unfinished / "checkpoints", step), {"history": Payload(canary)})
    train(trial_config(*COMMAND), verbose=False)
    assert difference(digest(twin), digest(unfinished)) == []
    assert left_over(unfinished, keep_best=1) == []


@pytest.mark.parametrize("write", [sealed, unsealed, plain_pickle, also_a_script])
def test_a_payload_as_the_best_checkpoint_is_refused(unfinished, canary, write):
    run = playbook.load_run(unfinished)
    write(best_path(unfinished / "checkpoints", run.best_steps[0]), {"state_dict": Payload(canary)})
    with pytest.raises(InputError, match=r"is damaged or was not|is not a checkpoint of this program") as error:
        run.model()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [torch.tensor(1.0), [], "text", None, {}, {"history": []}, {"history": {}}])
def test_a_sealed_file_that_is_no_checkpoint_is_passed_over(trial_config, twin, unfinished, content):
    sealed(resume_path(unfinished / "checkpoints", 20), content)
    train(trial_config(*COMMAND), verbose=False)
    assert difference(digest(twin), digest(unfinished)) == []


def test_an_address_is_refused_before_anything_is_fetched(tmp_path, canary):
    requests = []

    class Server(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    sealed(tmp_path / "resume_00000020.ckpt", {"history": Payload(canary)})
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            addresses = [
                f"http://127.0.0.1:{server.server_port}/resume_00000020.ckpt",
                f"file://{tmp_path}/resume_0.ckpt",
            ]
            for address in [*addresses, "s3://bucket/x.ckpt"]:
                with pytest.raises(InputError, match="only read from a local file"):
                    SafeCheckpointIO().load_checkpoint(address, weights_only=False)
        finally:
            server.shutdown()
            thread.join()
    assert requests == []


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.mkdir ['{canary}']",
        "lr: !!python/object/apply:os.mkdir ['{canary}']",
        "lr: !!python/object/new:os.mkdir ['{canary}']",
        "lr: !!python/name:os.mkdir",
    ],
)
def test_a_config_with_python_tags_in_the_folder_is_refused(trial_config, unfinished, canary, text):
    (unfinished / "config.yaml").write_text(text.format(canary=canary))
    for read in (
        lambda: train(trial_config(*COMMAND), verbose=False),
        lambda: playbook.load_run(unfinished).config,
        lambda: playbook.load_run(unfinished).model(),
    ):
        with pytest.raises(InputError, match="cannot be read as a config") as error:
            read()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("block", "value"),
    [
        ("model", {"_target_": "os.mkdir", "path": "{canary}"}),
        ("model", {"_target_": "builtins.eval", "source": "__import__('os').mkdir('{canary}')"}),
        ("task", {"_target_": "playbook.run_files.os.mkdir", "path": "{canary}"}),
        ("task", {"_target_": "playbook.tasks.Classification", "metrics": {"x": {"_target_": "os.mkdir"}}}),
        ("logger", {"_target_": "torch.nn.modules.module.warnings.os.mkdir", "path": "{canary}"}),
    ],
)
def test_a_target_from_elsewhere_in_the_folders_config_is_refused(trial_config, unfinished, canary, block, value):
    path = unfinished / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config[block] = {name: v.format(canary=canary) if isinstance(v, str) else v for name, v in value.items()}
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="_target_"):
        playbook.load_run(unfinished).model()
    if block != "logger":  # does not belong to what a trial is: the command's own is taken
        with pytest.raises(InputError, match="holds a run of another config"):
            train(trial_config(*COMMAND), verbose=False)


def test_a_config_that_refers_to_the_environment_is_only_text(unfinished):
    # Hydra resolves ${oc.env:…}; a file in a run's folder is not Hydra's.
    path = unfinished / "config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"output_root": "${oc.env:HOME}"}))
    assert playbook.load_run(unfinished).config.output_root == "${oc.env:HOME}"
