"""The abstract class of all detectors.

Training, tunings, inference, evaluation and sweeps use a detector only by what is defined here.

Training, evaluation, prediction and pseudo-labels run a detector in this order::

    encoded = detector.encode_images(images)     once; RGB uint8 [3, h, w] of any sizes, resized
    text    = detector.encode_text(ids, mask)    once per distinct caption, then text.select
    outputs = encoded.detect(text)               may be called again with another text
    losses  = detector.losses(outputs, text, truth)            in training
    found   = detector.detections(outputs, class_tokens, ...)  in inference

``detector(detector.preprocess(images), text)`` is the same forward pass as one pure function.
Preprocessed images, features and outputs are the detector's own: others pass them on and never look
inside. Letters of shapes: B images, U distinct captions, T tokens, D width of the text features, G
boxes of an image, K classes.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.tensor_files import check_tensors
from glip_lightning.models.feature_cache import FeatureCache, hash_of_code, precision_of
from glip_lightning.models.feature_store import tensor_bytes
from glip_lightning.models.rates import Rates
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.ops.postprocess import Detections, DetectionSettings

Inputs = Any
"""The output of ``preprocess``, which the first stage reads: the pixels of a batch, with a mask of
the padding where the detector needs one."""

Features = list[Tensor]
"""Tensors [B, ...] at a stage of the forward pass, one row per image. Others only take rows out of
them, and join them with rows of images of the same padded size."""

Outputs = Any
"""The output of ``predict``, which only the detector reads: all that ``losses`` and ``detections``
need. So it may hold the outputs of auxiliary layers and of the encoder, or the features that a
second pass over the ground truth begins with."""


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The annotated boxes in the images of a batch."""

    # of each image [G, 4], inclusive xyxy, input frame (pixels of the resized image)
    boxes: Sequence[Tensor]
    # of each image [G, T], non-zero at the tokens that name the box
    positive_maps: Sequence[Tensor]
    # height, width of each resized image before padding
    image_sizes: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Defaults:
    """The settings of a detector that hold where a recipe or a call gives no others."""

    input_size: tuple[int, int]  # short side and longest side of an image, in pixels
    detection: DetectionSettings
    rates: Rates = field(default_factory=Rates)


@dataclass(frozen=True)
class OptimizerRule:
    """How the published recipe of a detector optimises one parameter."""

    group: str  # name of its learning rate in the logs
    text: bool = False  # whether it learns at the rate of the text encoder
    lr_factor: float = 1.0
    decay: bool = True


@dataclass(frozen=True)
class Stage:
    """A point of the forward pass at which the features may be kept.

    The features at this point depend only on the inputs and, with ``reads_text``, on the text.
    """

    name: str
    holds: str  # what the features are, for messages
    modules: tuple[nn.Module, ...]  # all that run after the stage before, up to this stage
    reads_text: bool  # whether these or earlier modules read the text
    run: Callable[..., Features]
    """Computes the features of this stage from those of the stage before, or from the inputs if it
    is the first. With ``reads_text`` its second argument is the text [B, T, D]."""

    def __call__(self, features: Any, text: TextFeatures | None = None) -> Features:
        """Return the features of this stage from those of the stage before.

        The text matters only with ``reads_text``.
        """
        return self.run(features, text) if self.reads_text else self.run(features)


class Detector(
    nn.Module, PyTorchModelHubMixin, ABC, library_name="glip-lightning", tags=["object-detection"]
):
    """The abstract class of all detectors; see the module's docstring for the order of calls.

    It holds no state between calls, no tokenizer and no target. ``config`` is a dataclass whose
    ``repr`` names every size of the architecture; only the detector and
    :mod:`glip_lightning.weights` know its fields. ``from_pretrained``, ``save_pretrained`` and
    ``push_to_hub`` come from the Hub mixin.
    """

    config: Any
    reads_text: ClassVar[bool] = True
    """Whether ``encode_text`` reads words. A table of classes knows one class list."""
    adapted_layers: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear,)
    """Types of the layers that low-rank updates may adapt: their forward pass reads
    ``self.weight``."""

    @classmethod
    def _from_pretrained(cls, *, strict: bool = True, **kwargs: Any) -> Self:
        """Load as the mixin does, but refuse missing tensors and numbers that are not finite.

        A missing tensor would otherwise keep its random initial value.
        """
        model = super()._from_pretrained(strict=strict, **kwargs)
        check_tensors(model.state_dict(), str(kwargs.get("model_id", "the detector")))
        return model

    # -- the forward pass

    @abstractmethod
    def padded_size(self, images: Sequence[Tensor]) -> tuple[int, int]:
        """Return height and width that a batch of images [3, h, w] is padded to."""

    @abstractmethod
    def preprocess(self, images: Sequence[Tensor], size: tuple[int, int] | None = None) -> Inputs:
        """Return images as one normalised batch on the detector's device.

        The detector decides the order of channels, the mean and the deviation. Images are padded
        to the right and below after the normalisation.

        Args:
            images: RGB, uint8 [3, h, w] of any sizes.
            size: height and width of the batch; None takes those of :meth:`padded_size`.
        """

    @abstractmethod
    def encode_text(
        self, input_ids: Tensor, attention_mask: Tensor, embeddings: Tensor | None = None
    ) -> TextFeatures:
        """Return the features of token ids and mask [U, T] of distinct captions.

        No image has changed these features yet, so prompt tuning adds its offset to them.
        ``embeddings`` [U, T, E] take the place of the :attr:`word_embeddings` of the ids.
        """

    @abstractmethod
    def predict(self, features: Features, text: TextFeatures) -> Outputs:
        """Return the predictions from the features of the last stage."""

    def forward(self, inputs: Inputs, text: TextFeatures) -> Outputs:
        """Return the predictions for preprocessed images and the text [B, T, D] of each."""
        features = inputs
        for stage in self.stages():
            features = stage(features, text)
        return self.predict(features, text)

    def encode_images(
        self,
        images: Sequence[Tensor],
        frozen: Sequence[Stage] = (),
        cache: FeatureCache | None = None,
    ) -> "EncodedImages":
        """Run the stages that read no text; :meth:`EncodedImages.detect` runs the others.

        Frozen stages run on one image after the other. So an image has the same features in every
        batch, run and resumed run, with or without a cache.

        Args:
            images: RGB, uint8 [3, h, w].
            frozen: the first of :meth:`stages`, whose output never changes (``frozen_stages`` of
                the tuning).
            cache: keeps the features of the last frozen stage.
        """
        return EncodedImages(self, images, frozen, cache)

    @abstractmethod
    def losses(
        self, outputs: Outputs, text: TextFeatures, truth: GroundTruth
    ) -> Mapping[str, Tensor]:
        """Return the weighted losses of a batch by name: scalars in float32 that are summed up.

        Sums over boxes are normalised so that the mean of the gradients over the processes of a
        distributed run equals that of one process with the whole batch. A batch without boxes gives
        zeros that are part of the graph. What needs the ground truth (matching, sampling of
        proposals, denoising queries) happens here.
        """

    @abstractmethod
    def detections(
        self,
        outputs: Outputs,
        class_tokens: Sequence[Sequence[Sequence[int]]],
        image_sizes: Sequence[tuple[int, int]],
        settings: DetectionSettings,
    ) -> list[Detections]:
        """Return the detections of each image.

        Their boxes are inclusive, in the frame of the input, and clipped to the image.

        Args:
            outputs: of :meth:`predict`.
            class_tokens: ``class_tokens[i][k]`` are the tokens of class k in the caption of image
                i; a class without tokens is never found.
            image_sizes: height and width of the resized images before padding.
            settings: ``defaults.detection`` or changed ones.
        """

    @abstractmethod
    def is_finite(self, outputs: Outputs) -> bool:
        """Return whether all scores and boxes are numbers, not NaN.

        Infinite logits are scores of 0 and 1.
        """

    # -- what it is made of

    @property
    @abstractmethod
    def defaults(self) -> Defaults:
        """Return input size, settings of detections and learning rates where none are given."""

    @property
    @abstractmethod
    def prompt_width(self) -> int:
        """Return D, the width of the text features."""

    @property
    def word_embeddings(self) -> nn.Module:
        """Return the table of word embeddings, ids [U, T] -> [U, T, E]; ``weight`` [words, E].

        Raises:
            GLIPError: the detector has no text encoder (``no-text-encoder``).
        """
        message = f"{type(self).__name__}: has no text encoder, so its words cannot be learned"
        raise GLIPError(message, code="no-text-encoder")

    @property
    def device(self) -> torch.device:
        """Return the device of its parameters."""
        return next(self.parameters()).device

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Return the points at which features may be kept, in the order of the forward pass.

        There is at least one.
        """

    @abstractmethod
    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """Return the submodules and parameters of the parts vision, text, fusion, head.

        They are given by name. Every parameter is in exactly one part; a part that the detector
        lacks is empty. "text" has only submodules: all that ``encode_text`` runs and nothing else.
        """

    def part_of(self, name: str) -> str:
        """Return the part that a parameter, buffer or submodule belongs to, by its full name."""
        for part, prefixes in self.parts().items():
            if any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes):
                return part
        raise KeyError(f"{name} is in no part of {type(self).__name__}")

    def modules_of(self, part: str) -> list[nn.Module]:
        """Return the submodules of a part that lists no single parameters, such as "text"."""
        return [self.get_submodule(name) for name in self.parts()[part]]

    @abstractmethod
    def backbone_stages(self) -> Sequence[nn.Module]:
        """Return the patch embedding (or stem) and the stages of the image backbone, in this order.

        A tuning that freezes the first layers is told how many of these.
        """

    @abstractmethod
    def last_layers(self) -> Sequence[str]:
        """Return the names of the parameters that a linear probe trains.

        They include ``class_parameters``.
        """

    def class_parameters(self) -> Sequence[str]:
        """Return the names of the parameters that fit only one list of classes.

        There are none here: a detector that reads text has no parameters for classes.
        """
        return ()

    def start_classes_anew(self, seed: int) -> None:
        """Give ``class_parameters`` initial values for another class list.

        The values depend only on ``seed``.
        """

    def optimizer_rule(self, name: str) -> OptimizerRule:
        """Return how the published recipe optimises a parameter.

        By default only the text encoder has a learning rate of its own.
        """
        if name in self.class_parameters():
            return OptimizerRule("classes")
        if self.part_of(name) == "text":
            return OptimizerRule("text", text=True)
        return OptimizerRule("detector")

    def architecture(self) -> str:
        """Return class and sizes as a string.

        Two detectors with equal strings and equal weights compute equal numbers.
        """
        return f"{type(self).__name__}({self.config!r})"


class EncodedImages:
    """Images of a batch, encoded once for any number of texts.

    :meth:`Detector.encode_images` makes them.
    """

    def __init__(
        self,
        model: Detector,
        images: Sequence[Tensor],
        frozen: Sequence[Stage],
        cache: FeatureCache | None,
    ) -> None:
        self.model, self.images = model, images
        self._size = model.padded_size(images)
        self._frozen, self._cache = frozen, cache
        self._later = model.stages()[len(frozen) :]
        """The stages that :meth:`detect` has to run."""
        self._features: Features | None = None
        """Features before the first stage that reads text; None if a frozen stage reads it."""
        self._before_text: dict[int, Features] = {}
        """Features of each image after the frozen stages that read no text, kept for all texts."""
        if frozen and frozen[-1].reads_text:
            return
        rows = range(len(images))
        features = self._frozen_features(rows) if frozen else model.preprocess(images, self._size)
        while self._later and not self._later[0].reads_text:
            features = self._later[0](features)
            self._later = self._later[1:]
        self._features = features

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Return height and width of each image, without padding."""
        return [(x.shape[1], x.shape[2]) for x in self.images]

    def detect(self, text: TextFeatures, rows: Sequence[int] | None = None) -> Outputs:
        """Return the predictions for the images.

        Args:
            text: the text [B, T, D] of each image.
            rows: the images; None takes all.
        """
        if self._features is None:
            all_rows = range(len(self.images))
            features = self._frozen_features(all_rows if rows is None else rows, text)
        elif rows is None:
            features = self._features
        else:
            features = [x[rows] for x in self._features]
        for stage in self._later:
            features = stage(features, text)
        return self.model.predict(features, text)

    def _frozen_features(self, rows: Sequence[int], text: TextFeatures | None = None) -> Features:
        """Return the features [B, ...] of the last frozen stage, of one image after the other."""
        found = []
        for place, row in enumerate(rows):  # row in the images, place in the text
            compute = partial(self._compute, row, text, place)
            if self._cache:
                key = partial(self._key, row, text, place)
                found.append(self._cache.fetch(key, compute))
            else:
                found.append(compute())
        return _stack(found, self.model.device)

    def _compute(self, row: int, text: TextFeatures | None, place: int) -> Features:
        """Return the features of the last frozen stage for one image, without the batch axis.

        ``row`` is the image, ``place`` its row in the text. The features are never computed in
        inference mode, because a training step may use what an evaluation has put into the cache.

        Raises:
            RuntimeError: a frozen stage draws random numbers, or depends on a tensor that learns.
        """
        if any(module.training for module in self._frozen_modules()):
            raise RuntimeError(
                "a frozen stage is in train mode, so its features would be kept with dropout: call "
                "eval_where_frozen"
            )
        with torch.inference_mode(False), torch.enable_grad():
            features = self._compute_before_text(row)
            if text is not None:
                alone = TextFeatures(text.hidden[place : place + 1], text.mask[place : place + 1])
                for stage in self._frozen:
                    if stage.reads_text:
                        features = stage(features, alone)
        if any(x.requires_grad for x in features):
            message = (
                "a frozen stage depends on a tensor that learns, but trains() and learns_text "
            )
            message += "of the tuning do not say so"
            raise RuntimeError(message)
        return [x[0] for x in features]

    def _compute_before_text(self, row: int) -> Features:
        """Return the features [1, ...] of an image after the frozen stages that read no text."""
        if row not in self._before_text:
            features = self.model.preprocess([self.images[row]], self._size)
            for stage in self._frozen:
                if not stage.reads_text:
                    features = stage(features)
            self._before_text[row] = features
        return self._before_text[row]

    def _frozen_modules(self) -> list[nn.Module]:
        return list(chain.from_iterable(stage.modules for stage in self._frozen))

    def _key(self, row: int, text: TextFeatures | None, place: int) -> bytes:
        """Return the key of an image's frozen features in the cache: all that they depend on."""
        image = self.images[row]
        digest = hashlib.sha256(tensor_bytes(image)).digest()
        key = self._base_key + repr(tuple(image.shape)).encode() + digest
        if text is None:
            return key
        shape = repr(tuple(text.hidden.shape[1:])).encode()
        return key + shape + tensor_bytes(text.hidden[place]) + tensor_bytes(text.mask[place])

    @cached_property
    def _base_key(self) -> bytes:
        """Return the part of the key that is the same for all images of this batch."""
        assert self._cache is not None
        weights: list[Tensor] = []
        for module in self._frozen_modules():
            weights += [*module.parameters(), *module.buffers()]
        key = (
            self._frozen[-1].name,
            self.model.architecture(),
            self._cache.hash_of_weights(weights),
            precision_of(self.model.device.type),
            hash_of_code(),
            self._size,
        )
        return repr(key).encode()


def _stack(rows: Sequence[Features], device: torch.device) -> Features:
    """Return the tensors of the images as batches on the device.

    A batch has the strides of its rows, so later layers compute the same as without a cache.
    """
    batches = []
    for parts in zip(*rows, strict=True):
        first = parts[0]
        batch = torch.empty_strided(
            (len(parts), *first.shape),
            (first.numel(), *first.stride()),
            dtype=first.dtype,
            device=device,
        )
        for row, part in zip(batch, parts, strict=True):
            row.copy_(part)
        batches.append(batch)
    return batches
