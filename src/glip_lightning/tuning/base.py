"""The base classes of tunings, and how trained parameters are grouped for the optimizer.

A tuning holds the learning rates and the weight decay. The detector says which parameters learn
faster, and which have no weight decay (:meth:`Detector.optimizer_rule`).
"""

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypedDict

import torch
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.detector import Detector, OptimizerRule, Stage
from glip_lightning.models.feature_cache import precision_of, versions_of
from glip_lightning.models.rates import Rates
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.text.captions import Prompt, build_prompts
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.weights.adapter import Adapter, save_adapter
from glip_lightning.weights.base_model import Base, absolute, weights_hash
from glip_lightning.weights.load import Loaded, Task, save
from glip_lightning.weights.run_files import RUN_ADAPTER, RUN_DETECTOR

REMEMBERED = 64  # sets of captions whose text features are kept while the encoder is frozen
SETTINGS = (int, float, str, tuple, dict)  # types of the attributes that a repr shows
RATES = ("lr", "text_lr")


class ParameterGroup(TypedDict):
    """A parameter group of a torch optimizer, with a name for the logged learning rates."""

    name: str
    params: list[nn.Parameter]
    lr: float
    weight_decay: float


class Tuning(nn.Module, ABC):
    """A way to tune a detector. Its own parameters are those that it adds to the detector.

    Frozen parts of the detector stay in eval mode during training (:func:`eval_where_frozen`).
    """

    own_rates: ClassVar[Mapping[str, str]] = {}
    """Names of arguments that may be None, each with a field of :class:`Rates`: None takes the
    detector's rate in this field."""
    learns_text = False
    """Whether :meth:`encode_text` adds something that learns to the output of the text encoder."""

    setup_reads_classes: ClassVar[bool] = True
    """Whether :meth:`setup` needs the caption or the tokenizer."""

    def __init__(self) -> None:
        super().__init__()
        self._texts = TextMemory()

    def use_rates(self, own: Rates) -> dict[str, float]:
        """Set the arguments that are None to the detector's ``own`` rates.

        Returns:
            The rates that were set, by the name of the argument.
        """
        missing = [name for name in self.own_rates if getattr(self, name) is None]
        rates = {name: getattr(own, self.own_rates[name]) for name in missing}
        for name, rate in rates.items():
            setattr(self, name, rate)
        return rates

    def check_rates(self) -> None:
        """Raise GLIPError (``bad-value``) for a negative or infinite rate, or if all are 0."""
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
        """Set ``requires_grad`` of every parameter of ``model``, and return the parameter groups.

        Called once, before the strategy wraps the model.

        Args:
            model: the detector.
            prompt: the caption of the task; None where its classes need several captions.
            tokenizer: of the detector.
        """

    def check_model(self, model: Detector) -> None:
        """Raise an error if the tuning does not fit a detector.

        Sweeps call it before their trials, with a detector on the meta device. Nothing is checked
        where :meth:`setup` needs the classes.
        """
        if not self.setup_reads_classes:
            self.setup(model, None, Tokenizer.nano())

    def phrases(self, phrases: Sequence[Phrase]) -> list[Phrase]:
        """Return the phrases of the classes as they stand in the caption.

        These are ``phrases``, those of the data, unless the tuning adds words of its own.
        """
        return list(phrases)

    def encode_text(
        self, model: Detector, input_ids: Tensor, attention_mask: Tensor
    ) -> TextFeatures:
        """Return the features [U, T, D] of token ids and mask [U, T] of the distinct captions."""
        parts = model.modules_of("text")
        if any(part.training or self.trains(part) for part in parts):
            return model.encode_text(input_ids, attention_mask)
        return self._texts.encode(model, input_ids, attention_mask)

    def trains(self, part: nn.Module) -> bool:
        """Return whether training changes the output of a part for the same input."""
        return any(p.requires_grad for p in part.parameters())

    def frozen_stages(self, model: Detector) -> list[Stage]:
        """Return the first stages of the detector whose output never changes during training.

        Nothing in such a stage or before it learns. If it reads the text, the text does not learn
        either.
        """
        text_learns = self.learns_text or any(map(self.trains, model.modules_of("text")))
        frozen: list[Stage] = []
        for stage in model.stages():
            if any(map(self.trains, stage.modules)) or (stage.reads_text and text_learns):
                break
            frozen.append(stage)
        return frozen

    @override
    def extra_repr(self) -> str:
        settings = []
        for name, value in vars(self).items():
            hidden = name.startswith("_") or name == "training"
            if isinstance(value, SETTINGS) and not hidden:
                settings.append(f"{name}={value}")
        return ", ".join(settings)

    def described(self) -> str:
        """Return class and settings, for people to read."""
        return f"{type(self).__name__}({self.extra_repr()})"

    @property
    def update_scale(self) -> float:
        """Return the factor that scales low-rank updates; 1 for tunings without them."""
        return 1.0

    def merge(self, model: Detector) -> None:
        """Fold what was learned into ``model``, which then works without the tuning.

        Training is over afterwards.
        """

    # -- the files of a run: here the whole detector, unless a subclass saves less

    def remember_base(self, model: Detector) -> None:
        """Remember the weights that the training starts from, if the saved files depend on them.

        Called once, before :meth:`setup`, because the precision 16-true later rounds all weights.
        """

    def save(self, folder: Path, trained: Loaded, task: Task) -> None:
        """Write what was learned into the ``folder`` of a run; training cannot go on afterwards.

        A detector that began with random weights is always saved as a whole, because these weights
        exist nowhere else.

        Args:
            folder: of the run.
            trained: the detector as it is now, with the name and the origin of its first weights.
            task: the classes as the data name them, and the size of the images in evaluations.
        """
        self.merge(trained.model)
        save(trained.model, trained.tokenizer, folder / RUN_DETECTOR, task, words=trained.words)

    def saved_bytes(self, model: Detector, random: bool) -> dict[str, int]:
        """Return the bytes of the large files or folders that :meth:`save` will write.

        Args:
            model: the detector.
            random: whether the detector began with random weights.

        Returns:
            The bytes by the name of the file in the folder of the run.
        """
        return {RUN_DETECTOR: sum(x.nbytes for x in model.state_dict().values())}


class AdapterTuning(Tuning):
    """A tuning whose runs save the trained tensors, with name and hash of their base detector."""

    _base_sha256 = ""

    @override
    def remember_base(self, model: Detector) -> None:
        self._base_sha256 = weights_hash(model, text=True)

    def trained(self, model: Detector) -> dict[str, Tensor]:
        """Return what was learned as tensors of an adapter (:mod:`glip_lightning.weights.adapter`).

        A table of classes is always part of it, also if it is frozen, because the base detector may
        have a table of other classes.
        """
        classes = model.class_parameters()
        return {
            f"new.{key}": p
            for key, p in model.named_parameters()
            if p.requires_grad or key in classes
        }

    @override
    def save(self, folder: Path, trained: Loaded, task: Task) -> None:
        if trained.weights == "random":
            super().save(folder, trained, task)
            return
        phrases = tuple(self.phrases(task.phrases))
        captions = tuple(prompt.caption for prompt in build_prompts(phrases, trained.tokenizer))
        adapter = Adapter(
            tensors=self.trained(trained.model),
            phrases=phrases,
            captions=captions,
            tuning=self.described(),
            base=Base(absolute(trained.name), self._base_sha256, task.input_size),
            names=task.names,
        )
        save_adapter(folder / RUN_ADAPTER, adapter)

    @override
    def saved_bytes(self, model: Detector, random: bool) -> dict[str, int]:
        if random:
            return super().saved_bytes(model, random)
        return {RUN_ADAPTER: sum(x.nbytes for x in self.trained(model).values())}


class TextMemory:
    """The outputs of a frozen text encoder, so that each set of captions is encoded once."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], TextFeatures] = OrderedDict()

    def encode(self, model: Detector, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Return the features of captions [U, T], as computed now or before."""
        weights: list[Tensor] = []
        for module in model.modules_of("text"):
            weights += module.parameters()
        captions = str((input_ids.tolist(), attention_mask.tolist()))
        precision = precision_of(input_ids.device.type)
        # the versions of the weights change when a checkpoint is loaded into them
        key = (sum(versions_of(weights)), model.device, precision, captions)
        if key not in self._known:
            # features that are made in inference mode cannot be used in training later
            with torch.inference_mode(False), torch.enable_grad():
                text = model.encode_text(input_ids.clone(), attention_mask.clone())
            if text.hidden.requires_grad:
                raise RuntimeError(
                    "the text encoder depends on a tensor that learns, but trains() of the tuning "
                    "returns False for it"
                )
            self._known[key] = text
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def official_groups(
    model: Detector, rate_of: Callable[[str, OptimizerRule], float], weight_decay: float
) -> list[ParameterGroup]:
    """Return the trainable parameters of ``model``, grouped by learning rate and weight decay.

    Args:
        model: the detector; its rules change rates and decay (:meth:`Detector.optimizer_rule`).
        rate_of: returns the rate for a parameter's name and rule, before the rule's factor.
        weight_decay: of the parameters whose rule allows it; others have 0.
    """
    groups: dict[tuple[float, float], ParameterGroup] = {}
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rule = model.optimizer_rule(key)
        rate = rate_of(key, rule) * rule.lr_factor
        decay = weight_decay if rule.decay else 0.0
        if (rate, decay) not in groups:
            groups[rate, decay] = ParameterGroup(
                name=rule.group, params=[], lr=rate, weight_decay=decay
            )
        group = groups[rate, decay]
        if rule.group not in group["name"].split("+"):
            group["name"] += f"+{rule.group}"
        group["params"].append(parameter)
    return list(groups.values())


def need_text_encoder(model: Detector, tuning: Tuning) -> None:
    """Raise GLIPError if ``tuning`` trains text, and the detector has a table of classes instead.

    The code is ``no-text-encoder``.
    """
    if not model.reads_text:
        raise GLIPError(
            f"{type(tuning).__name__} needs a text encoder, but a Dynamic Head (dyhead-nano or "
            "trained from it) has a table of classes instead; use FullTuning, LinearProbe, "
            "LoRATuning or PartialTuning",
            code="no-text-encoder",
        )


def eval_where_frozen(module: nn.Module) -> None:
    """Set eval mode for submodules with frozen parameters only, so that they drop nothing."""
    learning = [p.requires_grad for p in module.parameters()]
    if learning and not any(learning):
        module.eval()
        return
    for child in module.children():
        eval_where_frozen(child)


@dataclass(frozen=True, slots=True)
class PartCount:
    """How many numbers the parameters of one part of the detector hold."""

    trainable: int
    total: int


def count_parts(model: Detector, tuning: Tuning) -> dict[str, PartCount]:
    """Count the parameters of each part, then those of the tuning ("tuning"), then all ("all").

    Empty parts are left out.
    """
    found: dict[str, list[nn.Parameter]] = {part: [] for part in model.parts()}
    for key, parameter in model.named_parameters():
        found[model.part_of(key)].append(parameter)
    found["tuning"] = list(tuning.parameters())
    found["all"] = [*model.parameters(), *found["tuning"]]
    counts = {}
    for part, parameters in found.items():
        if parameters:
            trainable = sum(p.numel() for p in parameters if p.requires_grad)
            counts[part] = PartCount(trainable, sum(p.numel() for p in parameters))
    return counts
