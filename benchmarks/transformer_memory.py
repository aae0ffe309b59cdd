"""How much memory training a transformer of 20 million parameters takes beyond what it has to, and whether it grows.

    python benchmarks/transformer_memory.py                                     beside a bare loop, 5 steps
    python benchmarks/transformer_memory.py --vocabulary 256 --steps 2000 --batch-size 2 --context 64      is it flat?

Each program is a process of its own: ours trains the way `train.py` does, with evaluations, records and checkpoints at
step 0, every 500 and the end; the bare loop is PyTorch's, with the same model and batches, and does
nothing but step. Peaks are the kernel's (`VmHWM`), of the whole process, what it imports included. Resident memory
is read once a step; its slope leaves the first 200 steps out. `arithmetic` is 16 bytes a parameter: the weight, its
gradient, and Adam's two moments. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH_AND_DEPTH = {256: (576, 5), 32768: (400, 4)}
HEADS, LR, WARM_UP = 8, 0.0003, 200
SHARES = ("data.val_fraction=0.075", "data.test_fraction=0.924")  # 34 kB to judge, a whole batch of an evaluation
BYTES_PER_PARAMETER = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=list(WIDTH_AND_DEPTH), choices=WIDTH_AND_DEPTH)
    parser.add_argument("--program", nargs="+", default=list(PROGRAMS), choices=PROGRAMS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    for vocabulary in given.vocabulary:
        for program in given.program:
            if given.inside:
                PROGRAMS[program](vocabulary, given.steps, given.batch_size, given.context)
                return
            words = ["--vocabulary", str(vocabulary), "--program", program, "--steps", str(given.steps)]
            words += ["--batch-size", str(given.batch_size), "--context", str(given.context)]
            subprocess.run([sys.executable, __file__, "--inside", *words], check=True)


def ours(vocabulary: int, steps: int, batch_size: int, context: int) -> None:
    import playbook
    from playbook.models import Transformer
    from playbook.training import train
    from playbook.trial_config import compose

    width, depth = WIDTH_AND_DEPTH[vocabulary]
    sizes: list[int] = []
    forward = Transformer.forward

    def measured(model: Transformer, inputs: object) -> object:
        if model.training:
            sizes.append(resident())
        return forward(model, inputs)  # type: ignore[arg-type]

    Transformer.forward = measured  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            *("experiment=text_transformer", "logger=none", "trainer.device=cpu", f"output_dir={folder}/run"),
            *(f"model.width={width}", f"model.depth={depth}", f"model.heads={HEADS}", "model.dropout=0", f"lr={LR}"),
            *(f"batch_size={batch_size}", f"data.context={context}", f"data.cache={folder}", *SHARES),
            *(f"max_steps={steps}", "warmup_steps=0", "eval_every=500", "eval_batch_size=auto"),
        ]
        if vocabulary != 256:
            overrides.append(f"data.tokenizer={write_tokenizer(Path(folder), vocabulary)}")
        train(compose(*overrides), verbose=False)
        peak = high_water()
        model = playbook.load_run(Path(folder) / "run").model()
    tell(f"ours, {steps} steps of {batch_size} x {context}", sum(p.numel() for p in model.parameters()), peak, sizes)


def bare_loop(vocabulary: int, steps: int, batch_size: int, context: int) -> None:
    import torch
    from torch.nn import functional as F

    from playbook.models.transformer import Transformer

    width, depth = WIDTH_AND_DEPTH[vocabulary]
    torch.manual_seed(0)
    shape = {"input_shape": (context,), "num_outputs": vocabulary, "vocab_size": vocabulary}
    model = Transformer(**shape, width=width, depth=depth, heads=HEADS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    sizes = []
    for _ in range(steps):
        tokens = torch.randint(256, (batch_size, context + 1))
        sizes.append(resident())
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    num_parameters = sum(p.numel() for p in model.parameters())
    tell(f"bare loop, {steps} steps of {batch_size} x {context}", num_parameters, high_water(), sizes)


PROGRAMS = {"ours": ours, "bare": bare_loop}


def tell(program: str, num_parameters: int, peak: int, sizes: list[int]) -> None:
    arithmetic = BYTES_PER_PARAMETER * num_parameters
    print(f"{program}: {num_parameters / 1e6:.2f} million parameters, arithmetic {gigabytes(arithmetic)}")
    print(f"  peak {gigabytes(peak)}, {gigabytes(peak - arithmetic)} above arithmetic")
    if len(sizes) > 2 * WARM_UP:
        import numpy as np

        steps, kept = np.arange(len(sizes))[WARM_UP:], np.array(sizes[WARM_UP:])
        slope = np.polyfit(steps, kept, 1)[0]
        quarters = [int(np.median(part)) for part in np.array_split(kept, 4)]
        print(f"  {1000 * slope / 1e6:+.2f} MB per 1,000 steps; {kept.min() / 1e6:.1f} to {kept.max() / 1e6:.1f} MB")
        print(f"  medians of four parts of the steps: {', '.join(f'{part / 1e6:.1f}' for part in quarters)} MB")
    sys.stdout.flush()


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.3f} GB"


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def high_water() -> int:
    """The most bytes that this process has held."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def write_tokenizer(folder: Path, vocabulary: int) -> Path:
    """A tokenizer of single bytes whose vocabulary is as large as asked for; the rest of it never occurs."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokens = [*pre_tokenizers.ByteLevel.alphabet()]
    tokens += [f"<{number}>" for number in range(vocabulary - len(tokens))]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(tokenizer.to_str())), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
