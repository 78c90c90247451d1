"""Low-rank updates beside frozen weights. Source: LoRA, arXiv 2106.09685."""

import math
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.detector import Detector
from glip_lightning.text.captions import Prompt
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.tuning.base import AdapterTuning, ParameterGroup
from glip_lightning.weights.adapter import low_rank

Part = Literal["text", "fusion", "vision", "head"]


class Update(nn.Module):
    """``up @ down * alpha / rank`` for one weight; zero in the beginning."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        """Make the update of ``weight`` [out, ...].

        All axes but the first count as inputs, also those of a convolution.
        """
        super().__init__()
        self.shape, self.scale = weight.shape, alpha / rank
        self.down = nn.Parameter(torch.empty(rank, weight[0].numel()))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # of nn.Linear

    def weight(self) -> Tensor:
        """Return the update in the shape of the weight that it is added to."""
        return low_rank(self.up, self.down, self.scale, self.shape)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to the output of a linear layer: x [..., in] -> [..., out]."""
        return F.linear(F.linear(x, self.down), self.up) * self.scale


class Adapted(nn.Module):
    """A layer whose ``weight`` reads as base plus update.

    Parameters keep their names; the update belongs to the tuning.
    """

    update: Update

    @property
    def weight(self) -> Tensor:
        """Return base plus update, in the shape of the layer's weight."""
        return self.base + self.update.weight()

    @property
    def base(self) -> Tensor:
        """Return the frozen weight alone."""
        weight = self._parameters["weight"]
        assert weight is not None
        return weight


class LoRALinear(Adapted, nn.Linear):  # pyrefly: ignore
    """A linear layer with a low-rank update. The fusion reads its ``weight``, others call it."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.base, self.bias) + self.update(input)


@cache
def adapted(kind: type[nn.Module]) -> type[Adapted]:
    """Return the class of a layer of ``kind`` with a low-rank update.

    Its forward pass reads ``self.weight``.
    """
    if kind is nn.Linear:
        return LoRALinear
    return type(f"LoRA{kind.__name__}", (Adapted, kind), {})


def plain(kind: type[Adapted]) -> type[nn.Module]:
    """Return the class from which :func:`adapted` made ``kind``."""
    return kind.__bases__[1]


class LoRATuning(AdapterTuning):
    """Low-rank updates of some parts of the detector; all else is frozen.

    Adapted are linear layers and the other types in :attr:`Detector.adapted_layers` (GLIP's
    deformable convolutions). A table of classes is trained as well: for another class list it
    begins with random rows.
    """

    setup_reads_classes = False
    own_rates: ClassVar = {"lr": "lora"}

    def __init__(
        self,
        parts: Sequence[Part] = ("fusion",),
        rank: int = 8,
        alpha: float = 16.0,
        lr: float | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        """Make the tuning.

        Args:
            parts: text (BERT), fusion (cross-attention and text layers of the tower), vision
                (Swin), head (dynamic convolutions, projection of the text).
            rank: of the updates.
            alpha: updates are scaled by ``alpha / rank``.
            lr: learning rate of AdamW. null is the detector's own: GLIP 1e-4, nano 2e-3.
            weight_decay: of the updates.
        """
        super().__init__()
        unknown = [part for part in parts if part not in get_args(Part)]
        if unknown:
            raise GLIPError(
                f"parts={unknown}: expected some of {', '.join(get_args(Part))}", code="bad-value"
            )
        if rank < 1:
            raise GLIPError(f"rank={rank}: expected 1 or more", code="bad-value")
        self.parts, self.rank, self.alpha = tuple(dict.fromkeys(parts)), rank, alpha
        self.lr, self.weight_decay = cast(float, lr), weight_decay  # None until use_rates
        self.updates = nn.ModuleDict()

    @override
    def setup(
        self, model: Detector, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> list[ParameterGroup]:
        self.use_rates(model.defaults.rates)
        model.requires_grad_(False)
        for part in self.parts:
            layers = [
                (key, layer)
                for key, layer in model.named_modules()
                if type(layer) in model.adapted_layers and model.part_of(key) == part
            ]
            if not layers:
                raise GLIPError(
                    f"parts: {part!r} has no layer in this detector (variant A has no fusion, "
                    "a Dynamic Head no text)",
                    code="empty-part",
                )
            for key, layer in layers:
                self._adapt(key, layer)
        learned = list(self.updates.parameters())
        for name in model.class_parameters():
            parameter = model.get_parameter(name)
            parameter.requires_grad_(True)
            learned.append(parameter)
        return [
            ParameterGroup(name="lora", params=learned, lr=self.lr, weight_decay=self.weight_decay)
        ]

    @property
    @override
    def update_scale(self) -> float:
        return self.alpha / self.rank

    def _adapt(self, key: str, layer: nn.Module) -> None:
        update = Update(layer.get_parameter("weight"), self.rank, self.alpha)
        self.updates[key.replace(".", "/")] = update
        layer.__class__ = adapted(type(layer))
        object.__setattr__(layer, "update", update)  # not as a submodule: the detector's names stay

    @override
    def trains(self, part: nn.Module) -> bool:
        return super().trains(part) or any(isinstance(layer, Adapted) for layer in part.modules())

    @override
    def trained(self, model: Detector) -> dict[str, Tensor]:
        tensors = super().trained(model)
        for key, layer in model.named_modules():
            if isinstance(layer, Adapted):
                tensors[f"up.{key}.weight"] = layer.update.up
                tensors[f"down.{key}.weight"] = layer.update.down
                tensors[f"scale.{key}.weight"] = torch.tensor(layer.update.scale)
        return tensors

    @override
    @torch.no_grad()
    def merge(self, model: Detector) -> None:
        """Add the updates to the weights; the layers become plain ones again.

        Outputs stay the same up to rounding.
        """
        for layer in model.modules():
            if isinstance(layer, Adapted):
                layer.base.add_(layer.update.weight())
                del layer.__dict__["update"]
                layer.__class__ = plain(type(layer))  # pyrefly: ignore
        self.updates.clear()
