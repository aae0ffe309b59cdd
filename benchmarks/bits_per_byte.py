"""Bits per byte of the held-out text by general compressors, and by a run of `experiment=text_transformer`.

    python train.py experiment=text_transformer output_dir=outputs/runs/text
    python benchmarks/bits_per_byte.py outputs/runs/text

A compressor is given the training text by compressing it together with the validation text, and taking off what the
training text needs alone. bzip2 looks at blocks of 900 kB, and both together are 409 kB: it has all of it at hand.
"""

from __future__ import annotations

import argparse
import bz2
import lzma
from collections.abc import Callable
from pathlib import Path

import playbook
from playbook.data import Text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="the folder of a run on the same text")
    folder = parser.parse_args().run
    source = Text() if folder is None else playbook.load_run(folder).config.data.build()
    train, validation = (bytes(source.load(split).tokens.tolist()) for split in ("train", "val"))
    print(f"{len(train)} bytes to train on, {len(validation)} held out")
    compressors: dict[str, Callable[[bytes], bytes]] = {"bzip2 -9": bz2.compress, "xz -9": lzma.compress}
    for name, compress in compressors.items():
        given, alone = bits_per_byte(compress, validation, train), bits_per_byte(compress, validation, b"")
        print(f"  {name:9} {given:.3f} given the training text, {alone:.3f} without")
    if folder is not None:
        run = playbook.load_run(folder)
        curve = run.evals.filter(metric="val/bits_per_byte").select("step", "value").rows()
        print(f"  the run   {min(value for _, value in curve):.3f}, after {run.result.seconds:.0f} s")
        print("  " + ", ".join(f"{step}: {value:.3f}" for step, value in curve))


def bits_per_byte(compress: Callable[[bytes], bytes], text: bytes, before: bytes) -> float:
    """Of `text`, where the compressor has seen `before`."""
    without = len(compress(before)) if before else 0
    return 8 * (len(compress(before + text)) - without) / len(text)


if __name__ == "__main__":
    main()
