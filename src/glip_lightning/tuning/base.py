"""What every tuning is, and how the parameters that it trains are grouped for the optimizer.

A tuning owns the learning rates and the weight decay; which parameters learn faster, or are not decayed, says the
detector (:meth:`Detector.optimizer_rule`).
"""

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.detector import Detector, OptimizerRule, Stage
from glip_lightning.models.feature_cache import precision_of
from glip_lightning.models.rates import Rates
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.text.captions import Prompt, build_prompts
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.weights.adapter import Adapter, save_adapter
from glip_lightning.weights.base_model import RUN_ADAPTER, Base, absolute, weights_hash
from glip_lightning.weights.load import RUN_DETECTOR, Loaded, Task, save

REMEMBERED = 64  # sets of captions whose features a frozen text encoder need not compute again


SETTINGS = (int, float, str, tuple, dict)
RATES = ("lr", "text_lr")


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

    own_rates: ClassVar[Mapping[str, str]] = {}
    """Arguments that may be None, and which of the detector's own :class:`Rates` each then is."""
    learns_text = False
    """Whether :meth:`encode_text` adds something that learns to what the text encoder returns."""

    def __init__(self) -> None:
        super().__init__()
        self._texts = TextMemory()

    def use_rates(self, own: Rates) -> dict[str, float]:
        """Take the detector's ``own`` rates wherever none is given, and return them by the argument's name."""
        missing = [name for name in self.own_rates if getattr(self, name) is None]
        found = {name: getattr(own, self.own_rates[name]) for name in missing}
        for name, rate in found.items():
            setattr(self, name, rate)
        return found

    def check_rates(self) -> None:
        """Raise GLIPError for rates that would lead away from the data, or with which nothing learns."""
        settings = vars(self)
        given: dict[str, float] = {name: settings[name] for name in RATES if name in settings}
        decay: dict[str, float] = {"weight_decay": settings.get("weight_decay", 0.0)}
        for name, value in (given | decay).items():
            if not 0 <= value < math.inf:
                raise GLIPError(f"tuning.{name}={value}: expected 0 or more", code="bad-value")
        if given and not any(given.values()):
            names = " and ".join(f"tuning.{name}" for name in given)
            raise GLIPError(
                f"{names} is 0: nothing would be learned; data.shots 0 tests without training",
                code="bad-value",
            )

    @abstractmethod
    def setup(
        self, model: Detector, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> list[ParameterGroup]:
        """Set ``requires_grad`` of every parameter of ``model``, and return what the optimizer gets.

        Called once, before the strategy wraps the model. ``prompt`` is the caption of the task, None where
        its classes need several captions.
        """

    def phrases(self, phrases: Sequence[Phrase]) -> list[Phrase]:
        """How the classes stand in the caption: as the data say, unless the tuning adds words of its own."""
        return list(phrases)

    def encode_text(
        self, model: Detector, input_ids: Tensor, attention_mask: Tensor
    ) -> TextFeatures:
        """Return the features [U, T, D] of token ids and mask [U, T] of the distinct captions."""
        if any(part.training or self.trains(part) for part in model.modules_of("text")):
            return model.encode_text(input_ids, attention_mask)
        return self._texts.encode(model, input_ids, attention_mask)

    def trains(self, part: nn.Module) -> bool:
        """Return whether training changes what a part of the detector computes, for the same input."""
        return any(p.requires_grad for p in part.parameters())

    def frozen_stages(self, model: Detector) -> list[Stage]:
        """Return the first stages of the detector: those that are the same throughout the training.

        A stage is the same where nothing in it or before it learns, and where the text that it reads, if it reads any,
        does not learn either.
        """
        text_learns = self.learns_text or any(map(self.trains, model.modules_of("text")))
        frozen: list[Stage] = []
        for stage in model.stages():
            if any(map(self.trains, stage.modules)) or (stage.reads_text and text_learns):
                break
            frozen.append(stage)
        return frozen

    def extra_repr(self) -> str:
        """The settings, for people to read."""
        return ", ".join(
            f"{name}={x}"
            for name, x in vars(self).items()
            if isinstance(x, SETTINGS) and name[0] != "_" and name != "training"
        )

    def described(self) -> str:
        """Return class and settings, for people to read."""
        return f"{type(self).__name__}({self.extra_repr()})"

    @property
    def update_scale(self) -> float:
        """What low-rank updates are multiplied by, where the tuning learns some."""
        return 1.0

    def merge(self, model: Detector) -> None:
        """Fold what was learned into ``model``, which then stands without the tuning; training is over."""

    # -- what a run keeps: here the whole detector

    def remember_base(self, model: Detector) -> None:
        """Remember which weights the training starts from, where what is saved belongs to them.

        Called once, before :meth:`setup`: in the precision 16-true training rounds all weights.
        """

    def save(self, folder: Path, trained: Loaded, task: Task) -> None:
        """Write what was learned into the ``folder`` of a run; afterwards it cannot be trained on.

        Random weights are to be had nowhere else, so a detector that began with them is saved as a whole by all
        tunings.

        Args:
            folder: of the run.
            trained: the detector as it is now; its name and the origin of its weights are those it began with.
            task: the classes as the data say them, the size of the images in evaluations.
        """
        self.merge(trained.model)
        save(trained.model, trained.tokenizer, folder / RUN_DETECTOR, task, words=trained.words)

    def saved_bytes(self, model: Detector, random: bool) -> dict[str, int]:
        """Return the bytes of each large file or folder that :meth:`save` will write, by its name in the run's folder.

        ``random``: whether the detector began with random weights.
        """
        return {RUN_DETECTOR: sum(x.nbytes for x in model.state_dict().values())}


class AdapterTuning(Tuning):
    """A tuning of which a run keeps what was trained, with name and hash of the detector it was trained on."""

    _base_sha256 = ""

    def remember_base(self, model: Detector) -> None:
        self._base_sha256 = weights_hash(model, text=True)

    def trained(self, model: Detector) -> dict[str, Tensor]:
        """Return what was learned as the tensors of an adapter (:mod:`glip_lightning.weights.adapter`).

        A table of classes is part of it even if frozen: the base may have it for other classes.
        """
        classes = model.class_parameters()
        return {
            f"new.{key}": p
            for key, p in model.named_parameters()
            if p.requires_grad or key in classes
        }

    def save(self, folder: Path, trained: Loaded, task: Task) -> None:
        if trained.weights == "random":
            super().save(folder, trained, task)
            return
        classes = tuple(self.phrases(task.phrases))
        captions = tuple(prompt.caption for prompt in build_prompts(classes, trained.tokenizer))
        base = Base(absolute(trained.name), self._base_sha256, task.input_size)
        adapter = Adapter(
            self.trained(trained.model), classes, captions, self.described(), base, task.names
        )
        save_adapter(folder / RUN_ADAPTER, adapter)

    def saved_bytes(self, model: Detector, random: bool) -> dict[str, int]:
        if random:
            return super().saved_bytes(model, random)
        return {RUN_ADAPTER: sum(x.nbytes for x in self.trained(model).values())}


class TextMemory:
    """What a frozen text encoder returned, so that each set of captions is encoded once."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], TextFeatures] = OrderedDict()

    def encode(self, model: Detector, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Return the features of captions [U, T], as computed now or before."""
        weights = [p for module in model.modules_of("text") for p in module.parameters()]
        # a checkpoint that is loaded changes frozen weights in place
        versions = sum(0 if p.is_inference() else p._version for p in weights)
        captions = str((input_ids.tolist(), attention_mask.tolist()))
        key = (versions, model.device, precision_of(input_ids.device.type), captions)
        if key not in self._known:
            # what is made in inference mode could not take part in training later
            with torch.inference_mode(False), torch.enable_grad():
                text = model.encode_text(input_ids.clone(), attention_mask.clone())
            if text.hidden.requires_grad:
                raise RuntimeError(
                    "the text encoder depends on a tensor that learns, but trains() of the tuning denies it"
                )
            self._known[key] = text
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def official_groups(
    model: Detector, rate_of: Callable[[str, OptimizerRule], float], weight_decay: float
) -> list[ParameterGroup]:
    """Return the trainable parameters of ``model`` by learning rate and weight decay, after the detector's rules.

    ``rate_of`` a parameter's name and rule is the rate before the rule's factor.
    """
    groups: dict[tuple[float, float], ParameterGroup] = {}
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rule = model.optimizer_rule(key)
        name, rate = rule.group, rate_of(key, rule) * rule.lr_factor
        decay = weight_decay if rule.decay else 0.0
        group = groups.setdefault(
            (rate, decay), ParameterGroup(name=name, params=[], lr=rate, weight_decay=decay)
        )
        if name not in group["name"].split("+"):
            group["name"] += f"+{name}"
        group["params"].append(parameter)
    return list(groups.values())


def need_text_encoder(model: Detector, tuning: Tuning) -> None:
    """Raise an error where a table of classes stands in the place of the text that ``tuning`` is about."""
    if not model.reads_text:
        raise GLIPError(
            f"{type(tuning).__name__} needs a text encoder, but a Dynamic Head (dyhead-nano or trained from it) has a "
            "table of classes instead; use FullTuning, LinearProbe, LoRATuning or PartialTuning",
            code="no-text-encoder",
        )


def eval_where_frozen(module: nn.Module) -> None:
    """Set eval mode for submodules that have parameters and train none of them: no dropout, no dropped paths."""
    learning = [p.requires_grad for p in module.parameters()]
    if learning and not any(learning):
        module.eval()
        return
    for child in module.children():
        eval_where_frozen(child)


class PartCount(NamedTuple):
    """Numbers (not tensors) in one part of the detector."""

    trainable: int
    total: int


def count_parts(model: Detector, tuning: Tuning) -> dict[str, PartCount]:
    """Count what is trained of each part, then of the tuning's parameters, then of all; empty parts are left out."""
    found: dict[str, list[nn.Parameter]] = {part: [] for part in model.parts()}
    for key, parameter in model.named_parameters():
        found[model.part_of(key)].append(parameter)
    found["tuning"] = list(tuning.parameters())
    found["all"] = [*model.parameters(), *found["tuning"]]
    return {
        part: PartCount(
            sum(p.numel() for p in group if p.requires_grad), sum(p.numel() for p in group)
        )
        for part, group in found.items()
        if group
    }
