"""Tunings that train some of the detector's own weights and add none.

Source: microsoft/GLIP tools/finetune.py:66-92, 215-260 (TUNING_HIGHLEVEL_OVERRIDE),
modeling/backbone/swint.py:556-571 (freezing), modeling/detector/generalized_vl_rcnn.py:134-173.
"""

import math
import re
from collections.abc import Mapping
from typing import ClassVar, cast

from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.detector import Detector, OptimizerRule
from glip_lightning.text.captions import Prompt
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.tuning.base import (
    AdapterTuning,
    ParameterGroup,
    Tuning,
    need_text_encoder,
    official_groups,
)


class FullTuning(Tuning):
    """Tuning of everything but the first stages of the image backbone (official mode "full")."""

    setup_reads_classes = False
    own_rates: ClassVar = {"lr": "full", "text_lr": "text"}

    def __init__(
        self,
        lr: float | None = None,
        text_lr: float | None = None,
        weight_decay: float = 0.05,
        freeze_at: int = 2,
    ) -> None:
        """Make the tuning.

        Args:
            lr: learning rate of AdamW, also that of the head and of a table of classes. null is the
                detector's own: GLIP 1e-4, nano 1e-3.
            text_lr: learning rate of the text encoder. null is the detector's own: GLIP 1e-5, nano
                1e-4.
            weight_decay: of the parameters that are decayed officially.
            freeze_at: counts as MODEL.BACKBONE.FREEZE_CONV_BODY_AT: -1 freezes nothing, 0 and 1 the
                patch embedding, 2 the first stage with it, 5 the whole body but its norms.
        """
        super().__init__()
        self.lr, self.text_lr = cast(float, lr), cast(float, text_lr)  # None until use_rates
        self.weight_decay, self.freeze_at = weight_decay, freeze_at

    @override
    def setup(
        self, model: Detector, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> list[ParameterGroup]:
        self.use_rates(model.defaults.rates)
        model.requires_grad_(True)
        freeze_backbone(model, self.freeze_at)
        return official_groups(model, self._rate, self.weight_decay)

    def _rate(self, key: str, rule: OptimizerRule) -> float:
        return self.text_lr if rule.text else self.lr


def freeze_backbone(model: Detector, freeze_at: int) -> None:
    """Freeze the patch embedding (``freeze_at`` >= 0) and the first ``freeze_at - 1`` stages.

    A stage includes the merging of patches at its end.
    """
    stages = model.backbone_stages()  # the patch embedding is the first
    if not -1 <= freeze_at <= len(stages):
        message = f"freeze_at={freeze_at}: expected -1 (nothing) to {len(stages)} (all stages)"
        raise GLIPError(message, code="bad-value")
    frozen = max(1, freeze_at) if freeze_at >= 0 else 0
    for stage in stages[:frozen]:
        stage.requires_grad_(False)


class LinearProbe(AdapterTuning):
    """Tuning of the last layers alone (official mode "linear_prob").

    In GLIP these are projection of the text, boxes, centerness, scale and biases of the logits. A
    table of classes is trained as well.

    Officially dropout stays on in the frozen fusion and text layers. Here frozen layers are in eval
    mode, so that all before the last layers can be computed once.
    """

    setup_reads_classes = False
    own_rates: ClassVar = {"lr": "probe"}

    def __init__(self, lr: float | None = None, weight_decay: float = 0.05) -> None:
        """Make the tuning.

        Args:
            lr: learning rate of AdamW. null is the detector's own: GLIP 1e-4, nano 5e-3.
            weight_decay: of the parameters that are decayed officially.
        """
        super().__init__()
        self.lr, self.weight_decay = cast(float, lr), weight_decay  # None until use_rates

    @override
    def setup(
        self, model: Detector, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> list[ParameterGroup]:
        self.use_rates(model.defaults.rates)
        model.requires_grad_(False)
        for name in model.last_layers():
            model.get_parameter(name).requires_grad_(True)
        return official_groups(model, self._rate, self.weight_decay)

    def _rate(self, key: str, rule: OptimizerRule) -> float:
        return self.lr


class LanguageTuning(Tuning):
    """Tuning of the text encoder alone (official modes "language_prompt_v1" and v3, the same)."""

    setup_reads_classes = False
    own_rates: ClassVar = {"text_lr": "text"}

    def __init__(self, text_lr: float | None = None, weight_decay: float = 0.05) -> None:
        """Make the tuning.

        Args:
            text_lr: learning rate of AdamW. null is the detector's own: GLIP 1e-5, nano 1e-4.
            weight_decay: of the parameters that are decayed officially.
        """
        super().__init__()
        self.text_lr, self.weight_decay = cast(float, text_lr), weight_decay  # None until use_rates

    @override
    def setup(
        self, model: Detector, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> list[ParameterGroup]:
        need_text_encoder(model, self)
        self.use_rates(model.defaults.rates)
        model.requires_grad_(False)
        for module in model.modules_of("text"):
            module.requires_grad_(True)
        return official_groups(model, self._rate, self.weight_decay)

    def _rate(self, key: str, rule: OptimizerRule) -> float:
        return self.text_lr


class PartialTuning(AdapterTuning):
    """Tuning of the parameters that regular expressions name, each with its own learning rate."""

    setup_reads_classes = False

    def __init__(self, rates: Mapping[str, float], weight_decay: float = 0.05) -> None:
        """Make the tuning.

        Args:
            rates: expression -> learning rate, e.g. ``{"^fpn": 1e-4, "^dyhead.*fusion": 1e-5}``.
                Expressions are searched for in the names of the parameters; the first that fits
                decides. Biases learn at twice the rate, as officially.
            weight_decay: of the parameters that are decayed officially.
        """
        super().__init__()
        if not rates:
            raise GLIPError(
                "rates={}: name at least one expression with its learning rate", code="bad-value"
            )
        wrong = [f"{name!r}: {lr}" for name, lr in rates.items() if not 0 <= lr < math.inf]
        if wrong:
            raise GLIPError(f"rates: {', '.join(wrong)}: expected 0 or more", code="bad-value")
        self.rates = {_compiled(pattern): lr for pattern, lr in rates.items()}
        self.weight_decay = weight_decay

    @override
    def setup(
        self, model: Detector, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> list[ParameterGroup]:
        used = set()
        examples: dict[str, str] = {}  # one parameter of each module at the top
        for key, parameter in model.named_parameters():
            pattern = self._first_fit(key)
            parameter.requires_grad_(pattern is not None)
            used.add(pattern)
            examples[key.split(".")[0]] = key
        unused = [repr(pattern.pattern) for pattern in self.rates if pattern not in used]
        if unused:
            raise GLIPError(
                f"rates: {', '.join(unused)} fits no parameter that an earlier expression has "
                f"left; names are like {', '.join(examples.values())}",
                code="unused-pattern",
            )
        return official_groups(model, self._rate, self.weight_decay)

    def _first_fit(self, key: str) -> re.Pattern[str] | None:
        return next((pattern for pattern in self.rates if pattern.search(key)), None)

    def _rate(self, key: str, rule: OptimizerRule) -> float:
        pattern = self._first_fit(key)
        assert pattern is not None, f"{key} is trained, but has no rate"
        return self.rates[pattern]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise GLIPError(
            f"rates: {pattern!r} is no regular expression: {error}", code="bad-value"
        ) from None
