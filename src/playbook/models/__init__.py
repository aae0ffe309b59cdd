"""Model families (rule `A1`): choosing an architecture is choosing a family and its size hyperparameters.

Every family is a `torch.nn.Module` built from the data's `input_shape` (one example, without the batch) and the task's
`num_outputs`, both supplied by the program, and from the user's `model.*` keys. The same key means the same thing in
every family; `parametrization=mup` makes up for the width (`parametrization.py`). Models keep no Python state between
calls and draw random numbers from torch's default generators alone, so that a step is a function of (parameters,
buffers, batch, seed) and many trials can be fused into one program.
"""

from playbook.models.cnn import CNN
from playbook.models.ghost_batch_norm import GhostBatchNorm
from playbook.models.mlp import MLP
from playbook.models.transformer import Transformer
from playbook.models.vision_transformer import VisionTransformer
from playbook.models.wide_resnet import WideResNet

__all__ = ["CNN", "MLP", "GhostBatchNorm", "Transformer", "VisionTransformer", "WideResNet"]
