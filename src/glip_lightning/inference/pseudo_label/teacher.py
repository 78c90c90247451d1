"""A detector that finds the phrases of sentences in photos: the expensive half of pseudo-labels.

A photo is encoded once for all of its sentences, a caption once as long as it is remembered, and photos of the same
padded size share a batch. Every box of a score from ``STORED_FROM`` on is kept, so that thresholds come later.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.class_words import check_words
from glip_lightning.data.checks.consistency import check_names
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.captioned_images import Captioned, Sentence
from glip_lightning.data.images import read_header, read_image
from glip_lightning.data.transforms import resize_image, resize_size
from glip_lightning.inference.predictor import check_finite, choose_device, to_original
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.ops import boxes as box_ops
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.ops.postprocess import Detections
from glip_lightning.text.captions import build_prompts, caption_of, classes_without_tokens
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.token_spans import token_indices
from glip_lightning.weights.base_model import Base, weights_hash
from glip_lightning.weights.load import load_detector

log = logging.getLogger(__name__)

STORED_FROM = 0.1
"""Least score that is stored; no threshold can be lower."""

STORED_MOST = 1000
"""Boxes of a caption that are stored, the best ones; no ``--max-detections`` can be higher."""

REMEMBERED = 1024  # sentences whose features are kept

Row = tuple[int, float, float, float, float, float]
"""Number of the phrase in its sentence, score, then x, y, width, height in pixels of the photo."""


class PreparedPhoto(NamedTuple):
    """A photo as the detector takes it."""

    image: Tensor  # uint8 [3, h, w]
    original: tuple[int, int]  # height, width of the view that boxes refer to
    padded: tuple[int, int]  # height, width with the detector's padding


class Teacher:
    """A detector as :func:`glip_lightning.weights.load.load` takes it; boxes come from its whole text encoder."""

    def __init__(self, detector: str, device: str = "auto") -> None:
        self.device = torch.device(choose_device(device))
        self.loaded = load_detector(detector)
        if not self.loaded.model.reads_text:
            message = f"--detector {detector}: has a table of classes and reads no words; take one that does"
            raise GLIPError(message, code="reads-no-words")
        self.model = self.loaded.model.to(self.device).eval()
        size = self.loaded.task.input_size if self.loaded.task else self.model.defaults.input_size
        self.base = Base(detector, weights_hash(self.model, text=True), size)
        self._known: dict[Sentence, tuple[TextFeatures, list[tuple[int, ...]]]] = {}

    def class_lists(self, phrases: Sequence[Phrase] | None) -> tuple[Sentence, ...]:
        """As few captions as hold all ``phrases``, by default the classes that a fine-tuned detector knows."""
        if phrases is None and self.loaded.task is None:
            message = f"say what to look for: --captions FILE, --phrases or --phrases-file ({self.base.name} has no "
            message += "classes of its own)"
            raise GLIPError(message, code="no-classes")
        wanted = self.loaded.task.phrases if phrases is None and self.loaded.task else phrases or ()
        check_names(wanted, self.loaded.tokenizer, "phrases")
        prompts = build_prompts(wanted, self.loaded.tokenizer)
        if silent := classes_without_tokens(prompts, [phrase.name for phrase in wanted]):
            named = ", ".join(map(repr, silent))
            message = (
                f"the detector's vocabulary has no token for {named}; name it with other words"
            )
            raise GLIPError(message, code="bad-phrases")
        found = Findings()
        check_words(
            [phrase.name for phrase in wanted], wanted, self.loaded.reader, "phrases", found
        )
        found.log_to(log)
        found.raise_errors()
        captions = (caption_of(wanted[k] for k in prompt.classes) for prompt in prompts)
        return tuple(Sentence(caption, tuple(spans)) for caption, spans in captions)

    def tokens(self, sentence: Sentence) -> list[tuple[int, ...]]:
        """Of each phrase, as training will see them: none beyond the longest caption."""
        offsets = self.loaded.tokenizer.offsets(sentence.caption)[
            : MAX_TOKENS - 1
        ]  # [SEP] is the last
        return [token_indices([span], offsets) for span in sentence.spans or ()]

    def read(self, path: Path) -> PreparedPhoto:
        """The view that :class:`GroundingDataset` takes for the boxes: turned by EXIF where the size tells so.

        Half a turn, or a turn of a square photo, leaves the size as it is, and the pixels as they are stored.
        """
        header = read_header(path)
        image = read_image(path, upright=header.upright != header.stored)
        size = (image.height, image.width)
        resized = resize_image(image, resize_size(*size, *self.base.input_size))
        return PreparedPhoto(resized, size, self.model.padded_size([resized]))

    @torch.inference_mode()
    def find(
        self, views: Sequence[PreparedPhoto], photos: Sequence[Captioned]
    ) -> list[list[list[Row]]]:
        """For each photo (all of one padded size) and each of its sentences what was found, best first."""
        encoded = self.model.encode_images([view.image for view in views])
        found: list[list[list[Row]]] = [[] for _ in views]
        for k in range(max(len(photo.sentences) for photo in photos)):
            rows = [i for i, photo in enumerate(photos) if k < len(photo.sentences)]
            sentences = [photos[i].sentences[k] for i in rows]
            text = TextFeatures.joined([self._encode(sentence)[0] for sentence in sentences])
            tokens = [self._encode(sentence)[1] for sentence in sentences]
            sizes = [_size(views[i]) for i in rows]
            settings = replace(self.model.defaults.detection, max_detections=STORED_MOST)
            outputs = encoded.detect(text, None if len(rows) == len(views) else rows)
            check_finite(self.model, outputs, self.base.name)
            detections = self.model.detections(outputs, tokens, sizes, settings)
            for i, boxes in zip(rows, detections, strict=True):
                found[i].append(_rows(boxes, views[i]))
        return found

    def _encode(self, sentence: Sentence) -> tuple[TextFeatures, list[tuple[int, ...]]]:
        """The features of the caption [1, T, D] and the tokens of its phrases."""
        if sentence not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))  # the oldest
            ids, mask = self.loaded.tokenizer.encode([sentence.caption])
            text = self.model.encode_text(ids.to(self.device), mask.to(self.device))
            self._known[sentence] = text, self.tokens(sentence)
        return self._known[sentence]


def _size(view: PreparedPhoto) -> tuple[int, int]:
    """Return height and width without padding."""
    return view.image.shape[1], view.image.shape[2]


def _rows(found: Detections, view: PreparedPhoto) -> list[Row]:
    """Return the boxes of a score from ``STORED_FROM`` on, best first."""
    boxes, scores, labels = to_original(found, _size(view), view.original)
    boxes = box_ops.clip_outside(boxes, *view.original)
    xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
    keep = (scores >= STORED_FROM) & (xywh[:, 2:] > 1).all(-1)  # training leaves thinner ones out
    order = keep.nonzero().flatten()
    order = order[scores[order].argsort(descending=True, stable=True)]
    columns = zip(labels[order].tolist(), scores[order].tolist(), xywh[order].tolist(), strict=True)
    return [(label, round(score, 4), *(round(v, 2) for v in box)) for label, score, box in columns]
