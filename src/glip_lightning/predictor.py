"""From an image and phrases to detections: what a finished detector is for.

``detect_images`` is the one inference path: the predictor, validation and test all go through it.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import boxes as box_ops
from .data.images import read_image, to_rgb
from .data.transforms import MAX_SIZE, TEST_SIZE, resize_image, resize_size
from .models.glip import GLIP
from .models.language import TextFeatures
from .outputs import Outputs
from .postprocess import Detections, PostProcess
from .pretrained import Loaded, load
from .prompts import Phrase, Prompt, build_prompts, check_phrases, classes_without_tokens, read_phrases
from .text import Tokenizer

log = logging.getLogger(__name__)

Photo = str | Path | Image.Image | np.ndarray

Detect = Callable[[Sequence[Tensor], Sequence[TextFeatures]], Iterable[Outputs]]
"""RGB images, uint8 [3, h, w], and texts [B, T, D] -> the predictions with each text."""


class Query(NamedTuple):
    """A class list ready for the detector: one prompt, or several where the caption would be too long."""

    phrases: tuple[Phrase, ...]
    prompts: tuple[Prompt, ...]
    texts: tuple[TextFeatures, ...]  # one caption each: [1, T, D]

    def class_tokens(self, k: int) -> list[tuple[int, ...]]:
        """Tokens of every class in prompt ``k``, empty for the classes of the other prompts."""
        tokens: list[tuple[int, ...]] = [()] * len(self.phrases)
        for index, found in zip(self.prompts[k].classes, self.prompts[k].tokens, strict=True):
            tokens[index] = found
        return tokens


def encode_query(
    model: GLIP,
    tokenizer: Tokenizer,
    phrases: Sequence[Phrase],
    encode_text: Callable[[Tensor, Tensor], TextFeatures] | None = None,
) -> Query:
    """Tokenise and encode a class list once, for any number of images; ``encode_text`` is a tuning's."""
    encode_text = encode_text or model.encode_text
    prompts = build_prompts(phrases, tokenizer)
    device = next(model.parameters()).device
    texts = []
    for prompt in prompts:
        ids, mask = tokenizer.encode([prompt.caption])
        texts.append(encode_text(ids.to(device), mask.to(device)))
    return Query(tuple(phrases), tuple(prompts), tuple(texts))


def detect_images(
    model: GLIP, images: Sequence[Tensor], query: Query, post: PostProcess, detect: Detect | None = None
) -> list[Detections]:
    """Detections (inclusive boxes, input frame) of RGB images, uint8 [3, h, w], already resized.

    The images are encoded once, whatever the number of prompts; every class is in one prompt, so merging
    needs no second suppression. ``detect`` may stand for the model, e.g. with a cache of features.
    """
    sizes = [(x.shape[1], x.shape[2]) for x in images]
    texts = [
        text.select(torch.zeros(len(images), dtype=torch.int64, device=text.hidden.device)) for text in query.texts
    ]
    predictions = detect(images, texts) if detect else model.detect_each(model.preprocess(images), texts)
    parts: list[list[Detections]] = [[] for _ in images]
    for k, outputs in enumerate(predictions):
        found = post(outputs, query.class_tokens(k), sizes)
        for part, detections in zip(parts, found, strict=True):
            part.append(detections)
    return [post.best(Detections(*map(torch.cat, zip(*part, strict=True)))) for part in parts]


def to_original(found: Detections, size: tuple[int, int], original: tuple[int, int]) -> Detections:
    """From the input frame (``size`` = height, width) to outside boxes in the ``original`` frame, on the CPU."""
    scale_h, scale_w = original[0] / size[0], original[1] / size[1]
    boxes = box_ops.to_outside(found.boxes.float(), scale_w, scale_h)
    return Detections(boxes.cpu(), found.scores.float().cpu(), found.labels.cpu())


@dataclass
class Prediction:
    """What was found in one photo, best first."""

    boxes: Tensor  # [n, 4] outside corners, pixels of the photo as it is seen (EXIF orientation applied)
    scores: Tensor  # [n]
    labels: Tensor  # int64 [n], 0-based class index
    names: list[str]  # the phrase of each detection
    size: tuple[int, int]  # height, width of the photo

    def rows(self) -> list[dict[str, object]]:
        """Plain rows for JSON: class id, name, score, box as x1, y1, x2, y2."""
        return [
            {
                "class_id": int(label),
                "name": name,
                "score": round(float(score), 6),
                "box": [round(float(x), 2) for x in box],
            }
            for box, score, label, name in zip(self.boxes, self.scores, self.labels, self.names, strict=True)
        ]


class GLIPPredictor:
    """Find what phrases name in photos.

    >>> predictor = GLIPPredictor("glip-tiny")
    >>> prediction = predictor("photo.jpg", "raccoon. dog")
    """

    def __init__(self, detector: str = "glip-tiny", *, device: str = "auto", threshold: float = 0.5) -> None:
        """``detector``: a name, a Hub repository, a folder or a run; ``threshold`` on the final score."""
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold}: scores lie between 0 and 1")
        self.loaded: Loaded = load(detector)
        self.device = torch.device(choose_device(device))
        self.model = self.loaded.model.to(self.device).eval()
        self.threshold = threshold
        self.post = PostProcess()
        self._query: Query | None = None

    @torch.inference_mode()
    def __call__(self, photo: Photo, phrases: str | Sequence[str | Phrase] | None = None) -> Prediction:
        """Detect in a file, a PIL image (as it is stored, not turned by EXIF) or an RGB array uint8 [h, w, 3].

        ``phrases`` is "raccoon. dog", a list of names, or a list of :class:`Phrase`; left out, the classes
        that a fine-tuned detector was trained on.
        """
        query = self.query(phrases)
        image = _as_image(photo)
        original = (image.height, image.width)
        resized = resize_image(image, resize_size(*original, *self._input_size()))
        found = detect_images(self.model, [resized], query, self.post)[0]
        found = to_original(found, (resized.shape[1], resized.shape[2]), original)
        keep = (found.scores >= self.threshold).nonzero().flatten()
        keep = keep[found.scores[keep].argsort(descending=True)]
        boxes, labels = box_ops.clip_outside(found.boxes[keep], *original), found.labels[keep]
        names = [query.phrases[k].name for k in labels.tolist()]
        return Prediction(boxes, found.scores[keep], labels, names, original)

    def query(self, phrases: str | Sequence[str | Phrase] | None) -> Query:
        """The encoded class list; the last one is remembered."""
        own = phrases is None
        wanted = tuple(self._own_phrases() if own else as_phrases(phrases))
        if self._query is not None and self._query.phrases == wanted:
            return self._query
        if not own:
            check_phrases(wanted)
        with torch.inference_mode():
            query = encode_query(self.model, self.loaded.tokenizer, wanted)
        if silent := classes_without_tokens(query.prompts, [phrase.name for phrase in wanted]):
            message = f"the detector's vocabulary has no token for {', '.join(map(repr, silent))}"
            if not own:
                raise ValueError(f"{message}; name it with other words")
            log.warning("%s: never found", message)  # the data set was like that
        self._query = query
        return query

    def _own_phrases(self) -> Sequence[Phrase]:
        if self.loaded.task is None:
            raise ValueError("say what to look for: phrases='raccoon. dog' (this detector has no classes of its own)")
        return self.loaded.task.phrases

    def _input_size(self) -> tuple[int, int]:
        return self.loaded.task.input_size if self.loaded.task else (TEST_SIZE, MAX_SIZE)


def as_phrases(phrases: str | Sequence[str | Phrase]) -> list[Phrase]:
    """A caption, a list of names or a list of phrases -> phrases."""
    if isinstance(phrases, str):
        return read_phrases(phrases)
    return [phrase if isinstance(phrase, Phrase) else Phrase(phrase) for phrase in phrases]


def choose_device(device: str) -> str:
    """``auto`` is CUDA, else MPS, else the CPU; what this machine lacks is an error that says what it has."""
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in usable.items() if there)
    if not usable.get(device.split(":")[0]):
        raise ValueError(f"device={device!r}: this machine has {', '.join(n for n, there in usable.items() if there)}")
    return device


def _as_image(photo: Photo) -> Image.Image:
    if isinstance(photo, str | Path):
        return read_image(Path(photo), upright=True)
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise ValueError(f"array {photo.dtype} {photo.shape}: give RGB, uint8 [height, width, 3]")
        return Image.fromarray(photo)
    return to_rgb(photo)
