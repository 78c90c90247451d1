"""Low-rank updates beside frozen weights. Source: LoRA, arXiv 2106.09685."""

import math
import re
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_lightning.models.dynamic_head.deform_conv import DeformConv
from glip_lightning.models.glip.model import GLIP
from glip_lightning.text.captions import Prompt
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.tuning.base import PARTS, ParameterGroup, Tuning
from glip_lightning.weights.adapter import low_rank

Part = Literal["text", "fusion", "vision", "head"]


class Update(nn.Module):
    """``up @ down * alpha / rank`` for one weight; zero in the beginning."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        """``weight`` [out, ...]: all axes but the first count as inputs, as of a convolution."""
        super().__init__()
        self.shape, self.scale = weight.shape, alpha / rank
        self.down = nn.Parameter(torch.empty(rank, weight[0].numel()))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # of nn.Linear

    def weight(self) -> Tensor:
        """What is added to the weight, in its shape."""
        return low_rank(self.up, self.down, self.scale, self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the output of a linear layer: x [..., in] -> [..., out]."""
        return F.linear(F.linear(x, self.down), self.up) * self.scale


class _Adapted(nn.Module):
    """A layer whose ``weight`` reads as base plus update. Parameters keep their names, the update is the tuning's."""

    update: Update

    @property
    def weight(self) -> Tensor:
        return self.base + self.update.weight()

    @property
    def base(self) -> Tensor:
        weight = self._parameters["weight"]
        assert weight is not None
        return weight


class LoRALinear(_Adapted, nn.Linear):  # pyrefly: ignore
    """A linear layer with a low-rank update. The fusion reads its ``weight``, others call it."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.base, self.bias) + self.update(input)


class LoRADeformConv(_Adapted, DeformConv):  # pyrefly: ignore
    """A deformable convolution with a low-rank update."""


ADAPTED: dict[type[nn.Module], type[_Adapted]] = {nn.Linear: LoRALinear, DeformConv: LoRADeformConv}


class LoRATuning(Tuning):
    """Low-rank updates of the linear layers and deformable convolutions of some parts; all else is frozen, but for the
    table of classes of a detector that has one: another class list begins with random rows."""

    leaves = "adapter"

    def __init__(
        self,
        parts: Sequence[Part] = ("fusion",),
        rank: int = 8,
        alpha: float = 16.0,
        lr: float = 1e-4,
        weight_decay: float = 0.0,
    ) -> None:
        """``parts``: text (BERT), fusion (cross-attention and text layers of the tower), vision (Swin), head
        (dynamic convolutions, projection of the text). Updates are scaled by ``alpha / rank``."""
        super().__init__()
        if unknown := [part for part in parts if part not in get_args(Part)]:
            raise ValueError(f"parts={unknown}: expected some of {', '.join(get_args(Part))}")
        if rank < 1:
            raise ValueError(f"rank={rank}: expected 1 or more")
        self.parts, self.rank, self.alpha = tuple(dict.fromkeys(parts)), rank, alpha
        self.lr, self.weight_decay = lr, weight_decay
        self.updates = nn.ModuleDict()

    def setup(self, model: GLIP, prompt: Prompt | None, tokenizer: Tokenizer) -> list[ParameterGroup]:
        model.requires_grad_(False)
        for part in self.parts:
            found = {
                key: layer
                for key, layer in model.named_modules()
                if type(layer) in ADAPTED and re.match(PARTS[part], f"{key}.")
            }
            if not found:
                raise ValueError(
                    f"parts: {part!r} has no layer in this detector (variant A has no fusion, a Dynamic Head no text)"
                )
            for key, layer in found.items():
                self._adapt(key, layer)
        learned = list(self.updates.parameters())
        if model.config.classes:
            learned += model.language.requires_grad_(True).parameters()
        return [ParameterGroup(name="lora", params=learned, lr=self.lr, weight_decay=self.weight_decay)]

    def _adapt(self, key: str, layer: nn.Module) -> None:
        update = Update(layer.get_parameter("weight"), self.rank, self.alpha)
        self.updates[key.replace(".", "/")] = update
        layer.__class__ = ADAPTED[type(layer)]
        object.__setattr__(layer, "update", update)  # not as a submodule: the detector's names stay

    def trained(self, model: GLIP) -> dict[str, Tensor]:
        tensors = super().trained(model)
        for key, layer in model.named_modules():
            if isinstance(layer, _Adapted):
                update, name = layer.update, f"{key}.weight"
                tensors |= {f"up.{name}": update.up, f"down.{name}": update.down}
                tensors[f"scale.{name}"] = torch.tensor(update.scale)
        return tensors

    @torch.no_grad()
    def merge(self, model: GLIP) -> None:
        """Add the updates to the weights; the layers are plain ones again, the same numbers to rounding."""
        plain = {adapted: kind for kind, adapted in ADAPTED.items()}
        for layer in model.modules():
            if isinstance(layer, _Adapted):
                layer.base.add_(layer.update.weight())
                del layer.__dict__["update"]
                layer.__class__ = plain[type(layer)]  # pyrefly: ignore
        self.updates.clear()
