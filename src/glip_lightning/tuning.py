"""What of a detector is trained, and how fast: one object per way of tuning, chosen in a recipe by its class name.

A tuning owns the learning rates and the weight decay. Source of the official rules: microsoft/GLIP
solver/build.py:8-55 (groups), modeling/backbone/swint.py:556-571 (freezing).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TypedDict

from torch import Tensor, nn

from .models.checkpoint import official_name
from .models.glip import GLIP
from .models.language import TextFeatures
from .prompts import Prompt

BIAS_LR_FACTOR = 2.0  # SOLVER.BIAS_LR_FACTOR; biases are not decayed (SOLVER.WEIGHT_DECAY_BIAS)


class ParameterGroup(TypedDict):
    """What an optimizer of torch takes as a group, with a name for the logged learning rates."""

    name: str
    params: list[nn.Parameter]
    lr: float
    weight_decay: float


class Tuning(nn.Module, ABC):
    """A way to tune a detector. What it adds to the detector are parameters of its own.

    Whatever it freezes stays in eval mode during training (:func:`eval_where_frozen`).
    """

    @abstractmethod
    def setup(self, model: GLIP, prompt: Prompt | None) -> list[ParameterGroup]:
        """Set ``requires_grad`` of every parameter of ``model``, and return what the optimizer gets.

        Called once, before the strategy wraps the model. ``prompt`` is the caption of the task, None where
        its classes need several captions.
        """

    def encode_text(self, model: GLIP, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Token ids and mask [U, T] of the distinct captions -> their features [U, T, D]."""
        return model.encode_text(input_ids, attention_mask)


class FullTuning(Tuning):
    """Everything is trained but the first stages of the image backbone (official mode "full")."""

    def __init__(self, lr: float = 1e-4, text_lr: float = 1e-5, weight_decay: float = 0.05, freeze_at: int = 2) -> None:
        """``text_lr`` is for BERT. ``freeze_at`` counts as MODEL.BACKBONE.FREEZE_CONV_BODY_AT: -1 freezes
        nothing, 0 and 1 the patch embedding, 2 the first stage with it, 5 the whole body but its norms."""
        super().__init__()
        self.lr, self.text_lr, self.weight_decay, self.freeze_at = lr, text_lr, weight_decay, freeze_at

    def setup(self, model: GLIP, prompt: Prompt | None) -> list[ParameterGroup]:
        model.requires_grad_(True)
        freeze_backbone(model, self.freeze_at)
        return official_groups(model, self.lr, self.text_lr, self.weight_decay)


def freeze_backbone(model: GLIP, freeze_at: int) -> None:
    """Freeze the patch embedding (``freeze_at`` >= 0) and the first ``freeze_at - 1`` stages with their merging."""
    stages = model.backbone.stages
    if not -1 <= freeze_at <= len(stages) + 1:
        raise ValueError(f"freeze_at={freeze_at}: expected -1 (nothing) to {len(stages) + 1} (all stages)")
    if freeze_at >= 0:
        model.backbone.patch_embed.requires_grad_(False)
    for stage in stages[: max(0, freeze_at - 1)]:
        stage.requires_grad_(False)


def official_groups(model: GLIP, lr: float, text_lr: float, weight_decay: float) -> list[ParameterGroup]:
    """The trainable parameters by learning rate and weight decay.

    What has "bias" anywhere in its *official* name, so also tables of relative positions and the two biases of
    the grounding head, learns at twice the rate and is not decayed. Weights of norms are decayed.
    """
    groups: dict[tuple[float, float], ParameterGroup] = {}
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        official = official_name(key, model.config.fusion)
        name, rate, decay = "detector", lr, weight_decay
        if "language_backbone" in official:
            name, rate = "text", text_lr
        if "bias" in official:
            name, rate, decay = f"{name}_bias", rate * BIAS_LR_FACTOR, 0.0
        group = groups.setdefault((rate, decay), ParameterGroup(name=name, params=[], lr=rate, weight_decay=decay))
        if name not in group["name"].split("+"):
            group["name"] += f"+{name}"
        group["params"].append(parameter)
    return list(groups.values())


def eval_where_frozen(module: nn.Module) -> None:
    """Eval mode for the submodules that have parameters and train none of them: no dropout, no dropped paths."""
    if _any(p.requires_grad for p in module.parameters()) is False:
        module.eval()
        return
    for child in module.children():
        eval_where_frozen(child)


def _any(flags: Iterable[bool]) -> bool | None:
    """``any``, or None of nothing."""
    found = list(flags)
    return any(found) if found else None
