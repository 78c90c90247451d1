"""A detector that finds the phrases of sentences in photos: the expensive half of pseudo-labels.

A photo is encoded once for all of its sentences. The features of recent captions are kept, and
photos of the same padded size share a batch. Every box of a score from ``STORED_FROM`` on is
stored, so that thresholds can be changed later.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.ops import box_convert

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.class_words import check_words
from glip_lightning.data.checks.consistency import check_names
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.captioned_images import Captioned, Sentence
from glip_lightning.data.images import FRAMED, read_header, read_image
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


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo as the detector takes it."""

    image: Tensor  # uint8 [3, h, w]
    original: tuple[int, int]  # height, width of the view that boxes refer to
    padded: tuple[int, int]  # height, width with the detector's padding


class Teacher:
    """A detector that reads words: a name, a folder or a run, with its whole text encoder."""

    def __init__(self, detector: str, device: str = "auto") -> None:
        """Load the detector.

        Raises:
            GLIPError: the detector has a table of classes (code ``reads-no-words``).
        """
        self.device = torch.device(choose_device(device))
        self.loaded = load_detector(detector)
        if not self.loaded.model.reads_text:
            message = f"--detector {detector}: has a table of classes and reads no words; "
            message += "take a detector that reads words"
            raise GLIPError(message, code="reads-no-words")
        self.model = self.loaded.model.to(self.device).eval()
        size = self.loaded.task.input_size if self.loaded.task else self.model.defaults.input_size
        self.base = Base(detector, weights_hash(self.model, text=True), size)
        self.with_frames: list[Path] = []
        """Photos with several frames that were read so far; the first frame is used."""
        self._known: dict[Sentence, tuple[TextFeatures, list[tuple[int, ...]]]] = {}

    def class_lists(self, phrases: Sequence[Phrase] | None) -> tuple[Sentence, ...]:
        """Return as few captions as hold all ``phrases``.

        By default the phrases are the classes that a fine-tuned detector knows.

        Raises:
            GLIPError: no phrases for a detector without classes of its own (code ``no-classes``),
                or phrases that the detector has no token for (``bad-phrases``).
        """
        wanted = phrases
        if wanted is None:
            if self.loaded.task is None:
                message = "say what to look for: --captions FILE, --phrases or --phrases-file "
                message += f"({self.base.name} has no classes of its own)"
                raise GLIPError(message, code="no-classes")
            wanted = self.loaded.task.phrases
        check_names(wanted, self.loaded.tokenizer, "phrases")
        prompts = build_prompts(wanted, self.loaded.tokenizer)
        silent = classes_without_tokens(prompts, [phrase.name for phrase in wanted])
        if silent:
            named = ", ".join(map(repr, silent))
            message = f"the detector's vocabulary has no token for {named}; "
            message += "name it with other words"
            raise GLIPError(message, code="bad-phrases")
        names = [phrase.name for phrase in wanted]
        found = Findings()
        check_words(names, wanted, self.loaded.reader, "phrases", found)
        found.log_to(log)
        found.raise_errors()
        sentences = []
        for prompt in prompts:
            caption, spans = caption_of([wanted[k] for k in prompt.classes])
            sentences.append(Sentence(caption, tuple(spans)))
        return tuple(sentences)

    def tokens(self, sentence: Sentence) -> list[tuple[int, ...]]:
        """Return the tokens of each phrase of a sentence as training will see them.

        A phrase beyond the longest caption has none.
        """
        offsets = self.loaded.tokenizer.offsets(sentence.caption)
        seen = offsets[: MAX_TOKENS - 1]  # [SEP] is the last token
        return [token_indices([span], seen) for span in sentence.spans or ()]

    def read(self, path: Path) -> PreparedPhoto:
        """Return a photo turned as its EXIF orientation says, if that changes its size.

        :class:`GroundingDataset` sees the photo in the same way. A photo that is turned by 180
        degrees, or is a square, keeps its size, so its pixels are taken as they are stored.
        """
        header = read_header(path)
        if header.frames > 1 and path.suffix.lower() in FRAMED:
            self.with_frames.append(path)
        image = read_image(path, upright=header.upright != header.stored)
        size = (image.height, image.width)
        resized = resize_image(image, resize_size(*size, *self.base.input_size))
        return PreparedPhoto(resized, size, self.model.padded_size([resized]))

    @torch.inference_mode()
    def find(
        self, views: Sequence[PreparedPhoto], photos: Sequence[Captioned]
    ) -> list[list[list[Row]]]:
        """Return the boxes of each photo and each of its sentences, best first.

        All photos have one padded size. ``photos`` are the sentences of ``views``.
        """
        encoded = self.model.encode_images([view.image for view in views])
        found: list[list[list[Row]]] = [[] for _ in views]
        for k in range(max(len(photo.sentences) for photo in photos)):
            rows = [i for i, photo in enumerate(photos) if k < len(photo.sentences)]
            texts = []
            tokens = []
            for i in rows:
                features, of_phrases = self._encode(photos[i].sentences[k])
                texts.append(features)
                tokens.append(of_phrases)
            text = TextFeatures.joined(texts)
            sizes = [_size(views[i]) for i in rows]
            settings = replace(self.model.defaults.detection, max_detections=STORED_MOST)
            outputs = encoded.detect(text, None if len(rows) == len(views) else rows)
            check_finite(self.model, outputs, self.base.name)
            detections = self.model.detections(outputs, tokens, sizes, settings)
            for i, boxes in zip(rows, detections, strict=True):
                found[i].append(_rows(boxes, views[i]))
        return found

    def _encode(self, sentence: Sentence) -> tuple[TextFeatures, list[tuple[int, ...]]]:
        """Return the features of a caption [1, T, D] and the tokens of its phrases."""
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
    """Return the boxes of a score from ``STORED_FROM`` on, best first, in pixels of the photo."""
    boxes, scores, labels = to_original(found, _size(view), view.original)
    boxes = box_ops.clip_outside(boxes, *view.original)
    xywh = box_convert(boxes, "xyxy", "xywh")
    keep = (scores >= STORED_FROM) & (xywh[:, 2:] > 1).all(-1)  # training leaves thinner ones out
    order = keep.nonzero().flatten()
    order = order[scores[order].argsort(descending=True, stable=True)]
    rows: list[Row] = []
    for label, score, box in zip(
        labels[order].tolist(), scores[order].tolist(), xywh[order].tolist(), strict=True
    ):
        x, y, width, height = (round(value, 2) for value in box)
        rows.append((label, round(score, 4), x, y, width, height))
    return rows
