"""Data: sources of examples, their splits, and loaders whose batches are a function of the step.

source = Digits()
train = source.load("train")
for inputs, targets in StepLoader(train, batch_size=64, seed=0, num_steps=1000): ...
"""

from playbook.batch import Batch
from playbook.data.arrays import Arrays
from playbook.data.augment import Augmentation, CropFlip
from playbook.data.embedded import Diabetes, Digits
from playbook.data.fingerprint import fingerprint_of_files, fingerprint_of_splits
from playbook.data.images import CIFAR10, FashionMNIST
from playbook.data.joined import JoinedSplit
from playbook.data.loader import PassLoader, StepLoader
from playbook.data.source import NumWorkers, Source, TensorSource
from playbook.data.split import DatasetSplit, Split, SplitName, StoredSplit, StreamSplit, TensorSplit
from playbook.data.text import Text
from playbook.data.token_windows import TokenWindows

__all__ = [
    "CIFAR10",
    "Arrays",
    "Augmentation",
    "Batch",
    "CropFlip",
    "DatasetSplit",
    "Diabetes",
    "Digits",
    "FashionMNIST",
    "JoinedSplit",
    "NumWorkers",
    "PassLoader",
    "Source",
    "Split",
    "SplitName",
    "StepLoader",
    "StoredSplit",
    "StreamSplit",
    "TensorSource",
    "TensorSplit",
    "Text",
    "TokenWindows",
    "fingerprint_of_files",
    "fingerprint_of_splits",
]
