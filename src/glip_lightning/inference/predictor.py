"""From an image and phrases to detections: what a finished detector is for.

:func:`find_classes` is the one inference path: the predictor, validation and test all go through it.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, overload

import torch
from torchvision.ops import nms

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.class_words import check_words
from glip_lightning.data.checks.consistency import check_names
from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.data.transforms import resize_image, resize_size
from glip_lightning.inference.prediction import Photo, Prediction, as_image
from glip_lightning.inference.thresholds import (
    MAX_DETECTIONS,
    ONE_LABEL_IOU,
    Thresholds,
    check_threshold,
    same,
)
from glip_lightning.models.detector import Detector, EncodedImages, Outputs
from glip_lightning.models.query import Query, encode_query, same_names
from glip_lightning.ops import boxes as box_ops
from glip_lightning.ops.postprocess import Detections, DetectionSettings
from glip_lightning.text.captions import classes_without_tokens
from glip_lightning.text.phrases import Phrase, check_phrases, read_phrases
from glip_lightning.weights.load import RUN_DETECTOR, Loaded, load_detector
from glip_lightning.weights.prompt_file import PROMPT_NAME, check_prompt, load_prompt, on_device
from glip_lightning.weights.threshold_file import read_thresholds_of

log = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.5

Phrases = str | Sequence[str | Phrase]

NUMBERS = re.compile(r"[\d\s,]+")
"""What programs are given that know classes by their numbers."""

NO_LIMIT = 2**31 - 1
"""More detections than there can be: the limit comes after the thresholds, so that what it cuts is counted."""


def find_classes(
    encoded: EncodedImages,
    query: Query,
    name: str | None = None,
    settings: DetectionSettings | None = None,
) -> list[Detections]:
    """Return what is found of the query's classes in each image, in inclusive boxes of the input frame.

    Every class is in one of the query's prompts, so no second suppression is needed where these are joined.
    ``settings`` are the detector's own unless given.

    Raises:
        GLIPError: where ``name`` is given, for scores of that detector that are no numbers (code ``not-finite``).
    """
    model, count = encoded.model, len(encoded.images)
    settings = settings or model.defaults.detection
    parts: list[list[Detections]] = [[] for _ in range(count)]
    for k, text in enumerate(query.texts):
        rows = torch.zeros(count, dtype=torch.int64, device=text.hidden.device)
        outputs = encoded.detect(text.select(rows))
        if name is not None:
            check_finite(model, outputs, name)
        found = model.detections(outputs, [query.class_tokens(k)] * count, encoded.sizes, settings)
        for part, detections in zip(parts, found, strict=True):
            part.append(detections)
    return [settings.best(_joined(part)) for part in parts]


def check_finite(model: Detector, outputs: Outputs, name: str) -> None:
    """Raise GLIPError if a score or a box is NaN: it would be left out as if nothing were there.

    Weights that are finite can be so large that what they compute is not.
    """
    if not model.is_finite(outputs):
        message = f"{name}: its weights give scores or boxes that are no numbers (NaN); give another detector"
        raise GLIPError(message, code="not-finite")


def _joined(parts: Sequence[Detections]) -> Detections:
    return Detections(*map(torch.cat, zip(*parts, strict=True)))


def to_original(found: Detections, size: tuple[int, int], original: tuple[int, int]) -> Detections:
    """From the input frame (``size`` = height, width) to outside boxes in the ``original`` frame, on the CPU."""
    scale_h, scale_w = original[0] / size[0], original[1] / size[1]
    boxes = box_ops.to_outside(found.boxes.float(), scale_w, scale_h)
    return Detections(boxes.cpu(), found.scores.float().cpu(), found.labels.cpu())


class Predictor:
    """Find what phrases name in photos.

    >>> predictor = Predictor("glip-tiny")
    >>> prediction = predictor("photo.jpg", "raccoon. dog")
    """

    def __init__(
        self,
        detector: str | None = None,
        *,
        prompts: Sequence[str | Path] = (),
        device: str = "auto",
        threshold: float | Literal["best"] = DEFAULT_THRESHOLD,
        thresholds: Mapping[str, float] | None = None,
        max_detections: int = MAX_DETECTIONS,
        one_label: bool = False,
    ) -> None:
        """
        Args:
            detector: a name, a Hub repository, a folder or a run; default ``glip-tiny``, with ``prompts`` the one
                that they were tuned for. A run that tuned a prompt stands for its prompt.
            prompts: files of tuned prompts; all their classes are looked for, and the text encoder is not loaded.
            device: ``auto`` is CUDA, else MPS, else the CPU.
            threshold: the least score, 0 to 1, or ``best``: that of each class which a run has found best on its valid
                split (``thresholds.yaml``), 0.5 of classes that it says nothing of.
            thresholds: least scores of some classes by their names, whatever their capitals and blanks.
            max_detections: boxes of a photo that are kept, the best ones; a prediction says how many were cut.
            one_label: of boxes of different classes that overlap (IoU above 0.6) only the best is kept.

        Raises:
            GLIPError: no such detector or device, a threshold that is no score, files that are damaged, prompts that
                were tuned for another detector, or ``best`` without a run that says what is best (code
                ``no-thresholds``).
        """
        named = dict(thresholds or {})
        if threshold == "best":
            if detector is None:
                message = "threshold best: say whose: give the run as detector"
                raise GLIPError(message, code="no-thresholds")
            named, threshold = {**read_thresholds_of(detector), **named}, DEFAULT_THRESHOLD
        self.threshold = check_threshold(threshold, "threshold")
        self.thresholds = {
            same(name): check_threshold(score, f"threshold of {name}")
            for name, score in named.items()
        }
        """Least scores of the classes that have one of their own."""
        if max_detections < 1:
            raise GLIPError(
                f"max_detections={max_detections}: expected 1 or more", code="bad-value"
            )
        self.max_detections, self.one_label = max_detections, one_label
        if detector is not None and not prompts and (Path(detector) / PROMPT_NAME).is_file():
            prompts = [Path(detector) / PROMPT_NAME]
            detector = detector if (Path(detector) / RUN_DETECTOR).is_dir() else None
        tuned = {str(path): load_prompt(path) for path in prompts}
        self.tuned = list(tuned.values())
        self.name = detector or (self.tuned[0].base.name if tuned else "glip-tiny")
        with torch.random.fork_rng(devices=[]):  # drawn before weights are read; not the caller's
            self.loaded: Loaded = load_detector(self.name, text=not tuned)
        for path, prompt in tuned.items():
            check_prompt(path, prompt, self.loaded.model, self.name)
        self.device = torch.device(choose_device(device))
        self.model = self.loaded.model.to(self.device).eval()
        self._settings = replace(self.model.defaults.detection, max_detections=NO_LIMIT)
        self._queries = [on_device(prompt.query, self.device) for prompt in self.tuned]

    @overload
    def __call__(self, photo: Photo, phrases: Phrases | None = None) -> Prediction: ...

    @overload
    def __call__(
        self, photo: Sequence[Photo], phrases: Phrases | None = None
    ) -> list[Prediction]: ...

    @torch.inference_mode()
    def __call__(
        self, photo: Photo | Sequence[Photo], phrases: Phrases | None = None
    ) -> Prediction | list[Prediction]:
        """Detect in a file, a PIL image (as it is stored, not turned by EXIF) or an RGB array uint8 [h, w, 3].

        A list of photos gives a list of predictions, one by one: each as if it were alone. ``phrases`` is
        "raccoon. dog", a list of names, or a list of :class:`Phrase`; left out, the classes that a fine-tuned
        detector or the tuned prompts know.

        Raises:
            GLIPError: a file that is no readable image, an array of another kind, phrases that nobody can mean.
        """
        queries = self.queries(phrases)
        if isinstance(photo, Sequence) and not isinstance(photo, str):
            return [self._predict(each, queries) for each in photo]
        return self._predict(photo, queries)

    def _predict(self, photo: Photo, queries: Sequence[Query]) -> Prediction:
        """Return what the queries find in one photo."""
        image = as_image(photo)
        original = (image.height, image.width)
        parts, first = [], 0
        encoded: dict[tuple[int, int], EncodedImages] = {}  # once per size
        for query, wanted in zip(
            queries, self._input_sizes(), strict=True
        ):  # each as if it were alone
            if wanted not in encoded:
                resized = resize_image(image, resize_size(*original, *wanted))
                encoded[wanted] = self.model.encode_images([resized])
            (in_input,) = find_classes(encoded[wanted], query, self.name, self._settings)
            found = to_original(in_input, encoded[wanted].sizes[0], original)
            parts.append(found._replace(labels=found.labels + first))
            first += len(query.phrases)
        classes = [name for query in queries for name in query.class_names]
        return self._chosen(_joined(parts), classes, photo, original)

    def _chosen(
        self, found: Detections, classes: Sequence[str], photo: Photo, size: tuple[int, int]
    ) -> Prediction:
        """Return the detections that pass, best first; ``found`` has outside boxes in the frame of the photo."""
        thresholds = Thresholds(self.threshold, self.thresholds)
        least = torch.tensor([thresholds.of(name) for name in classes], device=found.scores.device)
        keep = (found.scores >= least[found.labels]).nonzero().flatten()
        keep = keep[found.scores[keep].argsort(descending=True, stable=True)]
        boxes = box_ops.clip_outside(found.boxes[keep], *size)
        if self.one_label:
            best = nms(boxes.double(), found.scores[keep].double(), ONE_LABEL_IOU)  # best first
            keep, boxes = keep[best], boxes[best]
        cut = max(0, len(keep) - self.max_detections)
        keep, boxes = keep[: self.max_detections], boxes[: self.max_detections]
        labels = found.labels[keep]
        names, best_score = (
            [classes[k] for k in labels.tolist()],
            max(found.scores.tolist(), default=0.0),
        )
        return Prediction(
            boxes, found.scores[keep], labels, names, size, list(classes), photo, best_score, cut
        )

    def queries(self, phrases: Phrases | None) -> list[Query]:
        """The encoded class list, or those of the tuned prompts; the last one is remembered."""
        if self.tuned:
            if phrases is not None:
                message = "phrases: tuned prompts have classes of their own; give one or the other"
                raise GLIPError(message, code="bad-phrases")
            return self._queries
        own = phrases is None
        wanted = tuple(self._own_phrases() if own else as_phrases(phrases))
        if self._queries and self._queries[0].phrases == wanted:
            return self._queries
        if not own:
            check_phrases(wanted)
            check_names(wanted, self.loaded.tokenizer, "phrases")
            self._check_known(wanted)
        names = self.loaded.task.names if own and self.loaded.task else ()
        with torch.inference_mode():
            query = encode_query(self.model, self.loaded.tokenizer, wanted, names=names)
        silent = classes_without_tokens(query.prompts, [phrase.name for phrase in wanted])
        if silent and not own:
            message = f"the detector's vocabulary has no token for {', '.join(map(repr, silent))}"
            raise GLIPError(f"{message}; name it with other words", code="bad-phrases")
        found = Findings()
        check_words(
            query.class_names, wanted, self.loaded.reader, "classes" if own else "phrases", found
        )
        numbers = [repr(phrase.name) for phrase in wanted if NUMBERS.fullmatch(phrase.name)]
        if not own and len(numbers) == len(wanted):
            found.add("joined-phrases/numbers", "phrases", len(numbers), items=listing(numbers))
        found.log_to(log)
        if not own:  # else the data were like that
            found.raise_errors()
        self._queries = [query]
        return self._queries

    def _check_known(self, wanted: Sequence[Phrase]) -> None:
        """A detector with a table of classes finds no others."""
        if not self.model.reads_text and not same_names(wanted, known := self._own_phrases()):
            names = ", ".join(phrase.name for phrase in known)
            message = f"phrases: {self.name} knows only the classes that it was trained for, {names}; leave the "
            message += "phrases out, or take a detector that reads names (glip-tiny)"
            raise GLIPError(message, code="unknown-class")

    def _own_phrases(self) -> Sequence[Phrase]:
        if self.loaded.task is None and not self.model.reads_text:
            message = f"{self.name} knows no classes yet: train it (glip fit), then give the run as detector"
            raise GLIPError(message, code="no-classes")
        if self.loaded.task is None:
            message = "say what to look for: phrases='raccoon. dog' (this detector has no classes of its own)"
            raise GLIPError(message, code="no-classes")
        return self.loaded.task.phrases

    def _input_sizes(self) -> list[tuple[int, int]]:
        """Short side and longest side for each of the queries."""
        if self.tuned:
            return [prompt.base.input_size for prompt in self.tuned]
        return [self.loaded.task.input_size if self.loaded.task else self.model.defaults.input_size]


def as_phrases(phrases: Phrases) -> list[Phrase]:
    """A caption, a list of names or a list of phrases -> phrases."""
    if isinstance(phrases, str):
        return read_phrases(phrases)
    return [phrase if isinstance(phrase, Phrase) else Phrase(phrase) for phrase in phrases]


def choose_device(device: str) -> str:
    """``auto`` is CUDA, else MPS, else the CPU; what this machine lacks is an error that says what it has."""
    usable = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, there in usable.items() if there)
    if not usable.get(device.split(":")[0]):
        message = f"device={device!r}: this machine has {', '.join(n for n, there in usable.items() if there)}"
        raise GLIPError(message, code="bad-device")
    return device
