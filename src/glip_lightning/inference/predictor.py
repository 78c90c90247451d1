"""From an image and phrases to detections.

:func:`find_classes` is the one path of inference: predictor, validation and test go through it.
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
from glip_lightning.inference.limits import MAX_DETECTIONS, ONE_LABEL_IOU
from glip_lightning.inference.prediction import Photo, Prediction, as_image
from glip_lightning.inference.thresholds import Thresholds, check_threshold, phrase_key
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
"""A caption like "raccoon. dog", or a list of names or phrases."""

NUMBERS = re.compile(r"[\d\s,]+")
"""Phrases that are only numbers: users may take them for numbers of classes."""

NO_LIMIT = 2**31 - 1
"""A limit of detections that is never reached.

The detector must return all detections: a predictor applies ``max_detections`` itself, after the
thresholds, and counts the boxes that it cuts.
"""


def find_classes(
    encoded: EncodedImages,
    query: Query,
    name: str | None = None,
    settings: DetectionSettings | None = None,
) -> list[Detections]:
    """Return the detections of the query's classes in each image.

    Boxes are inclusive corners in the frame of the input. Every class is in one prompt only, so
    the detections of several prompts are joined without another suppression.

    Args:
        encoded: the images.
        query: the classes.
        name: the name of the detector for an error message; None checks no scores.
        settings: of the detections; None takes those of the detector.

    Raises:
        GLIPError: scores of the detector ``name`` are no numbers (code ``not-finite``).
    """
    model, count = encoded.model, len(encoded.images)
    settings = settings or model.defaults.detection
    parts: list[list[Detections]] = [[] for _ in range(count)]  # of each image
    for k, text in enumerate(query.texts):
        # each text is one caption, row 0, which all images share
        rows = torch.zeros(count, dtype=torch.int64, device=text.hidden.device)
        outputs = encoded.detect(text.select(rows))
        if name is not None:
            check_finite(model, outputs, name)
        found = model.detections(outputs, [query.class_tokens(k)] * count, encoded.sizes, settings)
        for part, detections in zip(parts, found, strict=True):
            part.append(detections)
    return [settings.best(_joined(part)) for part in parts]


def check_finite(model: Detector, outputs: Outputs, name: str) -> None:
    """Raise GLIPError (code ``not-finite``) if a score or a box is NaN.

    Without this check a box with NaN would be left out as if nothing were there. Finite weights
    can give NaN if they are very large.
    """
    if not model.is_finite(outputs):
        message = f"{name}: its weights give scores or boxes that are no numbers (NaN); "
        message += "give another detector"
        raise GLIPError(message, code="not-finite")


def _joined(parts: Sequence[Detections]) -> Detections:
    return Detections(
        boxes=torch.cat([part.boxes for part in parts]),
        scores=torch.cat([part.scores for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
    )


def to_original(found: Detections, size: tuple[int, int], original: tuple[int, int]) -> Detections:
    """Return detections in the frame of the photo, on the CPU.

    Args:
        found: detections with inclusive boxes in the frame of the input.
        size: height and width of the input.
        original: height and width of the photo.

    Returns:
        The detections; their boxes are outside corners in pixels of the photo.
    """
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
        """Load the detector and the prompts.

        Args:
            detector: a name, a Hub repository, a folder or a run. The default is ``glip-tiny``, or
                the detector that the ``prompts`` were tuned for. Of a run that tuned a prompt, the
                prompt is used.
            prompts: files of tuned prompts. All their classes are looked for, and the text encoder
                is not loaded.
            device: ``auto`` is CUDA, else MPS, else the CPU.
            threshold: the least score, 0 to 1. ``best`` takes for each class the score that was
                best on the valid split of the run (``thresholds.yaml``), 0.5 for other classes.
            thresholds: least scores of some classes by their names; capitals and blanks do not
                matter.
            max_detections: the most boxes of a photo; the best ones are kept. A prediction says
                how many boxes were cut.
            one_label: if boxes of different classes overlap (IoU above 0.6), keep only the best
                one.

        Raises:
            GLIPError: no such detector or device, a threshold that is no score, files that are
                damaged, prompts that were tuned for another detector, or ``best`` without a run
                that has found the best scores (code ``no-thresholds``).
        """
        self.threshold, self.thresholds = _least_scores(detector, threshold, thresholds or {})
        """The least score, and those of the classes that have one of their own."""
        if max_detections < 1:
            raise GLIPError(
                f"max_detections={max_detections}: expected 1 or more", code="bad-value"
            )
        self.max_detections = max_detections
        self.one_label = one_label
        if detector is not None and not prompts and (Path(detector) / PROMPT_NAME).is_file():
            prompts = [Path(detector) / PROMPT_NAME]
            if not (Path(detector) / RUN_DETECTOR).is_dir():
                detector = None  # the prompt's file names the detector
        tuned = {str(path): load_prompt(path) for path in prompts}
        self.tuned = list(tuned.values())
        default = self.tuned[0].base.name if tuned else "glip-tiny"
        self.name = detector or default
        # building a detector draws random weights; the caller's random numbers stay as they are
        with torch.random.fork_rng(devices=[]):
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
        """Return the prediction for a photo, or the list of predictions for a list of photos.

        Every photo of a list is looked at alone, so its prediction does not depend on the others.

        Args:
            photo: a file, a PIL image (as it is stored, not turned by EXIF) or an RGB array uint8
                [h, w, 3].
            phrases: "raccoon. dog", a list of names, or a list of :class:`Phrase`. None takes the
                classes that a fine-tuned detector or the tuned prompts know.

        Raises:
            GLIPError: a file that is no readable image, an array of another kind, or phrases that
                cannot be used (see :meth:`queries`).
        """
        queries = self.queries(phrases)
        if isinstance(photo, Sequence) and not isinstance(photo, str):
            return [self._predict(each, queries) for each in photo]
        return self._predict(photo, queries)

    def _predict(self, photo: Photo, queries: Sequence[Query]) -> Prediction:
        """Return what the queries find in one photo."""
        image = as_image(photo)
        original = (image.height, image.width)
        parts: list[Detections] = []
        classes: list[str] = []
        encoded: dict[tuple[int, int], EncodedImages] = {}  # by the size, to encode it once
        for query, size in zip(queries, self.input_sizes(), strict=True):
            if size not in encoded:
                resized = resize_image(image, resize_size(*original, *size))
                encoded[size] = self.model.encode_images([resized])
            (found_in_input,) = find_classes(encoded[size], query, self.name, self._settings)
            found = to_original(found_in_input, encoded[size].sizes[0], original)
            # labels of this query follow those of the queries before it
            parts.append(found._replace(labels=found.labels + len(classes)))
            classes += query.class_names
        return self._choose(_joined(parts), classes, photo, original)

    def _choose(
        self, found: Detections, classes: Sequence[str], photo: Photo, size: tuple[int, int]
    ) -> Prediction:
        """Return the prediction: the detections that reach their least score, best first.

        ``found`` has outside boxes in the frame of the photo. ``size`` is the photo's height and
        width.
        """
        thresholds = Thresholds(self.threshold, self.thresholds)
        least = torch.tensor([thresholds.of(name) for name in classes], device=found.scores.device)
        keep = (found.scores >= least[found.labels]).nonzero().flatten()
        keep = keep[found.scores[keep].argsort(descending=True, stable=True)]
        boxes = box_ops.clip_outside(found.boxes[keep], *size)
        if self.one_label:
            of_objects = nms(boxes.double(), found.scores[keep].double(), ONE_LABEL_IOU)
            keep = keep[of_objects]  # still best first
            boxes = boxes[of_objects]
        cut = max(0, len(keep) - self.max_detections)
        keep = keep[: self.max_detections]
        labels = found.labels[keep]
        return Prediction(
            boxes=boxes[: self.max_detections],
            scores=found.scores[keep],
            labels=labels,
            names=[classes[k] for k in labels.tolist()],
            size=size,
            classes=list(classes),
            photo=photo,
            best_score=max(found.scores.tolist(), default=0.0),
            cut=cut,
        )

    def queries(self, phrases: Phrases | None) -> list[Query]:
        """Return the encoded class list, or the class lists of the tuned prompts.

        The last class list is kept, so that it is encoded once for all photos.

        Raises:
            GLIPError: phrases beside tuned prompts (``bad-phrases``); phrases that cannot be used
                (codes of ``check_phrases`` and ``check_words``); phrases that a table of classes
                does not have (``unknown-class``); no phrases, but the detector has no classes of
                its own (``no-classes``).
        """
        if self.tuned:
            if phrases is not None:
                message = "phrases: tuned prompts have classes of their own; leave the phrases out"
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
        where = "classes" if own else "phrases"
        check_words(query.class_names, wanted, self.loaded.reader, where, found)
        numbers = [repr(phrase.name) for phrase in wanted if NUMBERS.fullmatch(phrase.name)]
        if not own and len(numbers) == len(wanted):
            found.add("joined-phrases/numbers", "phrases", len(numbers), items=listing(numbers))
        found.log_to(log)
        if not own:  # the detector was trained with its own classes, so they are no error
            found.raise_errors()
        self._queries = [query]
        return self._queries

    def _check_known(self, wanted: Sequence[Phrase]) -> None:
        """Raise GLIPError if the detector has a table of classes, and ``wanted`` has other ones."""
        if self.model.reads_text:
            return
        known = self._own_phrases()
        if not same_names(wanted, known):
            names = ", ".join(phrase.name for phrase in known)
            message = (
                f"phrases: {self.name} knows only the classes that it was trained for, {names}; "
            )
            message += "leave the phrases out, or take a detector that reads names (glip-tiny)"
            raise GLIPError(message, code="unknown-class")

    def _own_phrases(self) -> Sequence[Phrase]:
        """Return the classes of the detector, or raise GLIPError (code ``no-classes``)."""
        if self.loaded.task is not None:
            return self.loaded.task.phrases
        if self.model.reads_text:
            message = "say what to look for: phrases='raccoon. dog' "
            message += "(this detector has no classes of its own)"
        else:
            message = f"{self.name} knows no classes yet: "
            message += "train it (glip fit), then give the run as detector"
        raise GLIPError(message, code="no-classes")

    def input_sizes(self) -> list[tuple[int, int]]:
        """Return for each query the shorter side and the longest side of its input, in pixels."""
        if self.tuned:
            return [prompt.base.input_size for prompt in self.tuned]
        if self.loaded.task:
            return [self.loaded.task.input_size]
        return [self.model.defaults.input_size]


def _least_scores(
    detector: str | None, threshold: float | Literal["best"], thresholds: Mapping[str, float]
) -> tuple[float, dict[str, float]]:
    """Return the usual least score, and the least scores of some classes by their phrase key."""
    named = dict(thresholds)
    if threshold == "best":
        if detector is None:
            message = "threshold best: give as detector a run that has found the best scores"
            raise GLIPError(message, code="no-thresholds")
        for name, best in read_thresholds_of(detector).items():
            named.setdefault(name, best.threshold)
        threshold = DEFAULT_THRESHOLD
    default = check_threshold(threshold, "threshold")
    least: dict[str, float] = {}
    for name, score in named.items():
        least[phrase_key(name)] = check_threshold(score, f"threshold of {name}")
    return default, least


def as_phrases(phrases: Phrases) -> list[Phrase]:
    """Return the phrases in a caption, a list of names or a list of phrases."""
    if isinstance(phrases, str):
        return read_phrases(phrases)
    return [phrase if isinstance(phrase, Phrase) else Phrase(phrase) for phrase in phrases]


def choose_device(device: str) -> str:
    """Return the name of a device; ``auto`` is CUDA, else MPS, else the CPU.

    Raises:
        GLIPError: this machine has no such device (code ``bad-device``); the message names its own.
    """
    usable = ["cpu"]
    if torch.backends.mps.is_available():
        usable.insert(0, "mps")
    if torch.cuda.is_available():
        usable.insert(0, "cuda")
    if device == "auto":
        return usable[0]
    if device.split(":")[0] not in usable:
        message = f"device={device!r}: this machine has {', '.join(usable)}"
        raise GLIPError(message, code="bad-device")
    return device
