"""How weights begin, and how fast they may move, in a network that is wider than the one that was tuned (rule `G3`).

In the standard parametrization the best learning rate falls as a network gets wider: a step changes each of a layer's
`fan_in` inputs and each of its weights in the same direction, so that its output moves fan_in times as far. The maximal
update parametrization (μP: Yang et al. 2022, arXiv 2203.03466) chooses each layer's initial size and share of the
learning rate such that what a step does to each layer's output is the same at any width. The best learning rate of a
narrow network is then about that of a wide one; it can drift all the same, which `study=transfer` measures.

Everything is relative to a base width, where both parametrizations are the same network with the same steps. A model
says of each layer by how much its inputs and its outputs have grown since (`FanGrowth`), in the attribute `fan_growth`;
an optimizer says which share of the learning rate that means for its rule (`Optimizer.lr_share`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from torch import nn

Parametrization = Literal["standard", "mup"]


class FanGrowth(NamedTuple):
    """How many times as many inputs and outputs a layer has as at the base width: 1 where the data or the task say.

    It is that of all of a module's own parameters of two dimensions and more; those of one, as biases and the gains of
    norms, have `outputs` alone.
    """

    inputs: float = 1.0
    outputs: float = 1.0

    @property
    def std(self) -> float:
        """By what the standard deviation of the initial weights grows (table 3 of the paper).

        The variance is 1 / fan_in, and 1 / fan_in² where a layer's inputs grow and its outputs do not: the output's.
        """
        return self.inputs**-1.0 if self.outputs == 1 else self.inputs**-0.5


UNGROWN = FanGrowth()


@dataclass(frozen=True)
class WidthGrowth:
    """How many times as wide a network is as at its base width, and what that makes of its layers."""

    factor: float = 1.0

    @property
    def into(self) -> FanGrowth:
        """Of a layer that reads the data, of embeddings and norms."""
        return FanGrowth(1.0, self.factor)

    @property
    def within(self) -> FanGrowth:
        """Of a layer between others."""
        return FanGrowth(self.factor, self.factor)

    @property
    def out_of(self) -> FanGrowth:
        """Of the last layer."""
        return FanGrowth(self.factor, 1.0)


SAME_WIDTH = WidthGrowth()


def width_growth(parametrization: Parametrization, width: int, base_width: int | None) -> WidthGrowth:
    """That of a network; in the standard parametrization none, whatever its width: nothing makes up for it.

    Raises `ValueError` for `mup` without a base width.
    """
    if parametrization == "standard":
        return SAME_WIDTH
    if base_width is None:
        raise ValueError(
            "model.parametrization=mup needs model.base_width, the width that lr was tuned at: such as"
            f" model.base_width={width}"
        )
    return WidthGrowth(width / base_width)


Grown = TypeVar("Grown", bound=nn.Module)


def grown(layer: Grown, growth: FanGrowth) -> Grown:
    """`layer`, which says from now on how it has grown."""
    layer.fan_growth = growth  # type: ignore[assignment]
    return layer
