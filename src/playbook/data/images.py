"""Public image sets with files of their own for training and for testing: Fashion-MNIST and CIFAR-10.

The validation split is taken from the training files. A trial opens nothing else: the test files are read when `test`
is loaded, which only the final evaluation does (B12).
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeInt
from torch import Tensor

from playbook.data.augment import CropFlip
from playbook.data.files import DataFolder, RemoteFile
from playbook.data.formats import read_cifar, read_cifar_archive, read_idx_pair
from playbook.data.source import NumWorkers, TensorSource
from playbook.data.split import SplitName
from playbook.data.stratify import Fraction, split_indices
from playbook.errors import InputError


class _ImageFiles(TensorSource):
    folder_name: str
    system_folder: Path | None = None

    def __init__(
        self,
        root: str | None = None,
        download: bool = False,
        in_memory: bool = True,
        num_workers: NumWorkers = "auto",
        val_fraction: Fraction = 0.1,
        split_seed: int = 0,
        crop_padding: NonNegativeInt = 0,
        flip: bool = False,
    ) -> None:
        super().__init__(in_memory=in_memory, num_workers=num_workers)
        self.folder = DataFolder(self.folder_name, root or None, download, self.system_folder)
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.augmentation = CropFlip(crop_padding, flip) if crop_padding or flip else None

    def examples(self, split: SplitName) -> tuple[Tensor, Tensor]:
        if split == "test":
            return self._read("test")
        images, labels = self._training_files
        indices = self._indices[split]
        return images[indices], labels[indices]

    @cached_property
    def _training_files(self) -> tuple[Tensor, Tensor]:
        return self._read("train")

    @cached_property
    def _indices(self) -> dict[SplitName, Tensor]:
        return split_indices(self._training_files[1], val_fraction=self.val_fraction, split_seed=self.split_seed)

    @abstractmethod
    def _read(self, part: Literal["train", "test"]) -> tuple[Tensor, Tensor]: ...


class FashionMNIST(_ImageFiles):
    """70,000 grey 28×28 photographs of clothes in ten classes (Xiao et al. 2017); 10,000 of them are the test split.

    Debian and Ubuntu have the files in the package `dataset-fashion-mnist`; where it is installed nothing is fetched.
    """

    num_classes = 10
    class_names = (
        *("T-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )
    folder_name = "fashion-mnist"
    system_folder = Path("/usr/share/datasets/fashion-mnist")

    _url = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    _files: ClassVar = {
        ("train", "images"): ("train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train", "labels"): ("train-labels-idx1-ubyte.gz", "md5:25c81989df183df01b3e8a0aad5dffbe"),
        ("test", "images"): ("t10k-images-idx3-ubyte.gz", "md5:bef4ecab320f06d8554ea6380940ec79"),
        ("test", "labels"): ("t10k-labels-idx1-ubyte.gz", "md5:bb300cfdad3c16e7a12a480ee83cd310"),
    }

    def _read(self, part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
        images, labels = read_idx_pair(
            self._path(part, "images"), self._path(part, "labels"), image_shape=(28, 28), num_classes=10
        )
        return images[:, None], labels

    def _path(self, part: Literal["train", "test"], kind: Literal["images", "labels"]) -> Path:
        name, checksum = self._files[part, kind]
        return self.folder.get(RemoteFile(name, self._url + name, checksum), name.removesuffix(".gz"))


class CIFAR10(_ImageFiles):
    """60,000 colour 32×32 photographs in ten classes (Krizhevsky 2009), the binary version; 10,000 are the test split.

    Read from the unpacked `cifar-10-batches-bin` folder where there is one, else straight from the archive, which takes
    a second or two longer at each start.
    """

    num_classes = 10
    class_names = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
    folder_name = "cifar-10"

    _unpacked = "cifar-10-batches-bin"
    _archive = RemoteFile(
        "cifar-10-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "md5:c32a1d4ab5d03f1284b67883e8d87530",
    )

    def _read(self, part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
        names = [f"data_batch_{number}.bin" for number in range(1, 6)] if part == "train" else ["test_batch.bin"]
        found = [path for name in names if (path := self.folder.find(name, f"{self._unpacked}/{name}"))]
        if len(found) == len(names):
            batches = [read_cifar(path) for path in found]
        elif found:
            raise InputError(f"{found[0].parent}: found {len(found)} of the {len(names)} files {', '.join(names)}")
        else:
            archive = self.folder.get(self._archive)
            batches = read_cifar_archive(archive, [f"{self._unpacked}/{name}" for name in names])
        images, labels = zip(*batches, strict=True)
        return torch.cat(images), torch.cat(labels)
