"""One trial: `train(config)` takes a checked config to `result.json`; `load_run(folder)` reads back what it left.

    config = playbook.compose("model.width=128", "lr=0.1")   # what `python train.py model.width=128 lr=0.1` trains
    result = train(config)                                   # a `playbook.run_files.Result`; steps are optimizer steps
    run = load_run(config.output_dir)                        # a `Run`: config, tables, result
    predictor = run.model()                                  # a `Predictor`: inputs (n, *input_shape) to predictions

A callback under `trainer.callbacks` that is an `EvaluationCallback` adds numbers to `evals.csv`, such as the
`GradientNoiseScale`.

Bad input is an `InputError`, before anything is written; a full disk or a process that died is a `CrashError`.
"""

import playbook.lean_torchmetrics  # noqa: F401
from playbook.training.evaluation_callback import EvaluationCallback, Weights
from playbook.training.gradient_noise import GradientNoiseScale
from playbook.training.load import Predictor, Run, load_run
from playbook.training.trial import train

__all__ = ["EvaluationCallback", "GradientNoiseScale", "Predictor", "Run", "Weights", "load_run", "train"]
