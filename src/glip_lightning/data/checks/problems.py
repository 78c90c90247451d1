"""The table of problems that data can have: one row per problem, with the words of its message.

A reader of data names a row by its key, and gives the place of the problem and the values for the
braces in the text. A key is a code, or a code and a word after a slash where one code has several
rows. Programs and users see only the code.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A row of the table."""

    level: Level  # "error": correct it before training; "warning": data are left out or changed
    text: str  # what is wrong, in words that fit a count of one and of many
    cure: str = ""  # what to do, empty where nothing has to be done

    def message(self, **values: object) -> str:
        """Return text and cure with the values in the place of the braces."""
        parts = [self.text.format(**values), self.cure.format(**values)]
        return "; ".join(part for part in parts if part)


def _error(text: str, cure: str = "") -> Problem:
    return Problem("error", text, cure)


def _warning(text: str, cure: str = "") -> Problem:
    return Problem("warning", text, cure)


def _note(text: str, cure: str = "") -> Problem:
    return Problem("info", text, cure)


_PATH = "correct the path"
_REMOVE = "correct or remove them"
_JSON = "export or download it again"

PROBLEMS: dict[str, Problem] = {
    # what cannot be read at all
    "no-data-set": _error("no data set found. {details}"),
    "missing-folder": _error("no such folder", "{near}"),
    "not-a-folder": _error("this is a file", "give the folder that it is in, {parent}"),
    "not-a-folder/archive": _error("this is an archive", "unpack it and give the folder"),
    "unreadable-folder": _error("cannot be read ({reason})"),
    "several-annotation-files": _error(
        "several annotation files: {names}",
        "rename the right one to {expected}, or merge them if each has some of the images",
    ),
    "missing-file": _error("no such {kind}", "check the path"),
    "not-json": _error("not readable JSON ({reason})", _JSON),
    "nested-too-deeply": _error("not readable JSON (nested too deep)", _JSON),
    "not-coco": _error(
        "no list {key!r} at its top level",
        "expected a COCO file, an object "
        '{{"images": [...], "annotations": [...], "categories": [...]}}',
    ),
    "duplicate-key": _error(
        "one object has the key {key} twice, with different values", "keep one of them"
    ),
    "other-tool": _error("this is {tool}, which is not read", "{cure}"),
    "not-captions": _error(
        "not readable captions ({reason})", "this command takes images with captions, see --help"
    ),
    "not-captions/ending": _error("captions are read from {known}, not from {ending!r}"),
    "bad-entry": _error(
        "entries that cannot be used: {count} of {total} ({items})", "correct them"
    ),
    "no-caption/file": _error(
        "there is no caption in it", "this command takes images with captions, see --help"
    ),
    "not-yaml": _error("not readable YAML ({reason})", "correct it or export it again"),
    "not-yaml/keys": _error("holds {value}", "expected the keys names, train, val, test"),
    "no-pictures": _error("no image in the places where images are expected ({looked})", _PATH),
    "bad-splits": _error("{reason}", "correct it, or delete it to split by the rule: {rule}"),
    "hub-unreadable": _error("cannot be loaded by `datasets` ({reason})", "{cure}"),
    "no-known-split": _error(
        "none of its splits is called train, validation or test", "it has {names}"
    ),
    "unknown-columns": _error(
        "its columns are not those of a detection data set: {columns}{reason}",
        "expected {wanted}",
    ),
    # the layout
    "two-layouts": _warning("read as {name}; it also looks like {others}, which is not used"),
    "stray-image": _warning(
        "images in {folder} that no split lists, so they are not used: {count} ({items})"
    ),
    "stray-image/folders": _note(
        "images in folders that belong to no split, so they are not used: {count} ({items})"
    ),
    "unread-picture": _warning(
        "images or videos in formats that are not read: {count} ({items})",
        "convert them (or their frames) to JPEG or PNG",
    ),
    "unannotated-split": _warning(
        "the {split} folder has images but no annotation file{named}, so it is not used"
    ),
    "unused-split": _warning(
        "its split {name!r} is not used: it is not called train, valid or test"
    ),
    "missing-split/train": _warning("there is no train split: nothing can be trained on it"),
    "missing-split/valid": _warning(
        "there is no valid split: the last weights are kept, not the best ones "
        "(the test split is never used to choose)"
    ),
    "missing-split/test": _warning(
        "there is no test split: the result is the AP of the valid split"
    ),
    "missing-split/needed": _error("there is no train split to train on"),
    "no-split": _error("there is no split at all", "check the path"),
    "no-split/probe": _error("there is neither a test nor a valid split to probe on"),
    "missing-split-path/train": _error("train: {entry} {fault}", _PATH),
    "missing-split-path/other": _warning("{split}: {entry} {fault}", "it is left out"),
    "empty-split/train": _error("the train split is empty: nothing can be trained on it"),
    "empty-split/other": _warning("the {split} split is empty: no ground truth, AP is not defined"),
    "split-by-rule": _warning(
        "the data come without splits, so a fixed rule divides them: {counts} (seed {seed}){kept}"
    ),
    "split-not-written": _warning(
        "the list of the splits cannot be written ({reason})",
        "nothing is lost: the rule gives the same splits again",
    ),
    "split-file": _note("this file says what the splits are: {counts}"),
    "split-twice": _error("images in two of its lists: {items}", "keep each in one"),
    "split-unlisted": _warning(
        "{what} that are in none of its lists, so they are not used: {count} ({items})",
        "add them to a list",
    ),
    "split-gone": _warning(
        "names in its lists for which there is no image: {count} ({items})",
        "remove them from the lists",
    ),
    "leak": _warning(
        "the same image is in two splits: {items}",
        "remove it from one of them, because it makes the AP too high",
    ),
    # classes
    "no-categories": _error("there is no class: {reason}", "name at least one"),
    "no-category-id": _error(
        "category entries without an id that is a whole number: {items}", "number them"
    ),
    "duplicate-category-id": _error(
        "category ids that occur twice: {items}", "give every category an id of its own"
    ),
    "no-category-name": _error(
        "categories whose name is missing or is not a text: {items}", "name them"
    ),
    "background-category": _warning(
        "category 0 ({name!r}) has no box and is only the supercategory of other categories, so it "
        "is not used as a class"
    ),
    "class-not-chosen": _warning(
        "left out, since their class was not chosen: {count} of the boxes in the {split} split "
        "({items}); their images are kept"
    ),
    "class-count": _warning(
        "nc is {given}, but the number of names is {count}; the names are used"
    ),
    "class-count/official": _error(
        "{count} categories in {root}, officially {official} ({names})",
        "use the official annotation files",
    ),
    "unknown-class/chosen": _error("{items} is none of the classes of {file}: {known}"),
    "bad-phrases": _error(
        "{count} phrases for {classes} classes", "write one for each of {names}, in this order"
    ),
    "phrase-of-other-class": _error(
        "phrase {number} is {phrase!r}, the name of class {other}",
        "write one phrase for each class in this order: {names}",
    ),
    "bad-names": _error("{fault}", "{cure}"),
    "broken-text": _error(
        "broken characters (a lone surrogate, half of a character) in {items}",
        "write the names again",
    ),
    "blank-name": _warning("category {number} has no name; it is called {name!r}", "name it"),
    "duplicate-name": _warning(
        "categories {number} and {other} are both called {name!r}, so the detector cannot "
        "tell them apart",
        "rename one",
    ),
    "name-too-long": _error(
        "class names that are too long for a caption (at most {room} tokens): {count} ({items})",
        "use a few words",
    ),
    "classes-differ/numbers": _error(
        "the {split} split has classes that the {first} split does not have ({unknown}), "
        "and other numbers for {other}",
        "give all splits the same categories",
    ),
    "classes-differ/names": _warning(
        "the {split} split lists {own}, the {first} split lists {others}; "
        "classes are matched by name"
    ),
    "no-tokens": _warning(
        "classes without a token, which are never trained and never found: {items}",
        "give them a name with letters",
    ),
    "unknown-words": _warning(
        "classes with words that are not in the vocabulary: {items}", "use simpler words"
    ),
    "long-name": _warning("very long class names: {items}", "a few words work better"),
    "unknown-words/all": _error(
        "the vocabulary has no word of any class: {items}", "use other words"
    ),
    "unread-words": _note(
        "words that were not in the training of {detector}: {items}",
        "training on your images teaches them; without training, use words that it knows",
    ),
    "names-alike": _warning(
        "classes whose names the detector reads as the same words, so it cannot tell them apart: "
        "{items}",
        "rename one (text in brackets is not read), or give --data.phrases_file",
    ),
    "names-similar": _warning(
        "names that differ in one letter: {items}", "if both mean the same thing, use one name"
    ),
    "joined-phrases": _warning(
        "class names that are read as one phrase, but look like several: {items}",
        "to separate phrases, write a period and a space",
    ),
    "joined-phrases/numbers": _warning(
        "phrases that are only numbers: {items}",
        "name the classes by words, which the detector reads",
    ),
    "other-order": _warning(
        "{detector} was trained with these classes in another order: {items}",
        "use that order, because the detector finds more with it",
    ),
    "untrained-class": _warning(
        "classes without a box to train on: {items}", "add examples or remove the class"
    ),
    "missing-class": _warning(
        "the {split} split has no box of these classes, so its AP says nothing about them: {items}"
    ),
    # images
    "no-image-id": _error(
        "image entries without an id that is a whole number: {items}", "number them"
    ),
    "duplicate-image-id": _error(
        "image ids that occur twice: {items}", "give every image an id of its own"
    ),
    "text-id": _warning(
        "ids that are written as a text or with a decimal point, read as numbers: {count}"
    ),
    "no-file-name": _error("image {number}: file_name is {value}", "write the name of its file"),
    "outside-folder": _error(
        "{what} that are outside of {folder}: {items}", "write paths inside this folder"
    ),
    "other-names": _warning(
        "file names that do not exist in this folder: {count} ({items}); each is read as the only "
        "image whose path ends in the same way",
        "write the names of the files in this folder",
    ),
    "missing-image": _error(
        "images that are not in {folder}: {count} of {total} ({items})",
        "add the files or remove their entries",
    ),
    "missing-image/files": _error(
        "annotation files without their image: {items}", "add the images or remove the files"
    ),
    "unreadable-image": _error("images that cannot be read: {count} ({items})"),
    "skipped-image": _warning("images that cannot be read, left out: {count} of {total} ({items})"),
    "undecodable-image": _error("images that cannot be decoded: {count} ({items})"),
    "wrong-size": _error(
        "image sizes that differ from those of the files: {items}",
        "correct width and height and check the boxes",
    ),
    "exif-turned": _warning(
        "images that were annotated after the rotation by their EXIF orientation; "
        "training rotates them, too: {items}"
    ),
    "exif-kept": _warning(
        "images that were annotated without the rotation by their EXIF orientation; "
        "training does not rotate them: {items}"
    ),
    "several-frames": _warning(
        "images with several frames, of which only the first is used: {count} ({items})"
    ),
    "flat-image": _warning(
        "images of nearly one colour: {count} ({items})",
        "if they are 16-bit images that use only a small part of the range, scale their values to "
        "the whole range",
    ),
    "extreme-image": _warning(
        "very small or very long images: {items}", "check that they are correct"
    ),
    "duplicate-image/files": _error(
        "images with two annotation files: {items}", "correct or remove one of them"
    ),
    "duplicate-image/entries": _warning(
        "images that are listed more than once: {count} ({items}); "
        "each entry counts as an image that has only the boxes of this entry",
        "merge the entries of each image",
    ),
    "duplicate-image/pixels": _note("images with the same pixels: {items}; each copy counts"),
    "image-without-boxes": _note(
        "images without a box to train on, used as negatives: {count} of {total} ({items})"
    ),
    # annotations
    "broken-xml": _error("annotation files that cannot be read: {items}", "export them again"),
    "broken-json": _error("annotation files that cannot be read: {items}", "export them again"),
    "stray-annotation": _warning("annotation files that are not used: {count} ({items})"),
    "left-out-shape": _warning(
        "shapes that cannot become a box, or that are marked as no object, left out: "
        "{count} ({items})"
    ),
    "missing-annotation": _error(
        "images without an XML file: {count} of {total} ({items})",
        "add the files or remove the lines",
    ),
    "no-labels": _error(
        "none of the images has a label file ({count} in all)",
        "expected labels/NAME.txt for images/NAME.jpg",
    ),
    "stray-label": _warning("label files that belong to no image: {count} ({items})"),
    "empty-labels": _warning("all label files are empty ({count}, read in {items})"),
    "key-points": _note(
        "lines with a box and key points; the key points are not used: {count} ({items})"
    ),
    "key-points/unsaid": _error(
        "lines that look like a box with key points x y visibility: {items}",
        "write kpt_shape: [points, 3] in data.yaml",
    ),
    "key-points/likely": _warning(
        "lines that are read as polygons, but may be boxes with key points: {count} ({items}); "
        "in each line the first four numbers could be a box around the other points",
        "if they are such boxes, write kpt_shape: [points, numbers of each] in data.yaml",
    ),
    "polygon": _note("lines with a polygon: {count} ({items}); the box around it is used"),
    "class-lists-differ": _warning(
        "{other} lists other names, {names}; it is not used", "keep the right list"
    ),
    "unused-list": _warning(
        "it lists {count} images, but not the same as the {split} split, so it is not used",
        "remove it, or make it the list of the split, for example in data.yaml",
    ),
    "label-unreadable": _error("label files that are not UTF-8 text: {items}", "export them again"),
    "label-numbers": _error(
        "lines that are neither 'class cx cy w h' nor 'class x y x y x y ...': {items}", _REMOVE
    ),
    "label-not-a-number": _error(
        "lines with a value that is not a finite number: {items}", _REMOVE
    ),
    "label-outside": _error(
        "coordinates outside 0..1: {items}",
        "divide pixels by the width and the height of the image",
    ),
    "unknown-class": _error(
        "class numbers that have no name (there are names for {first} to {last}): {items}",
        "add the names, or correct the numbers",
    ),
    "confidence-column": _warning(
        "lines with a sixth number, a confidence, which is ignored: {count} ({items})"
    ),
    "more-numbers": _error(
        "lines with a number after the box that is not a confidence: {items}",
        "remove track numbers; export rotated boxes as their corners, "
        "class x1 y1 x2 y2 x3 y3 x4 y4",
    ),
    "shared-label": _warning(
        "label files that are read for two images with the same name: {count} ({items})",
        "give each image its own (NAME.jpg.txt, NAME.png.txt), or rename one image",
    ),
    "duplicate-annotation-id": _error(
        "annotation ids that occur twice: {items}", "give every annotation an id of its own"
    ),
    "unknown-image": _error(
        "annotations of images that are not in the file: {items}",
        "add the images or remove the annotations",
    ),
    "unknown-category": _error(
        "annotations of unknown categories: {items}", "the categories of the file are {known}"
    ),
    "box-of-mask": _warning(
        "annotations without a bbox: {count}; the box around their mask (polygons or RLE "
        "in segmentation) is used"
    ),
    "turned-box": _warning(
        "rotated boxes or polygons: {count} ({items}); the upright box around each is used"
    ),
    "annotation-id-zero": _warning(
        "an annotation has the id 0, which the evaluation of COCO reads as no match; "
        "all annotations get new ids"
    ),
    "missing-keys": _warning(
        "annotations without area or iscrowd: {count}; width x height and 0 are used"
    ),
    "caption-phrases": _error(
        "boxes for phrases of captions (tokens_positive), not for classes: {count}",
        "train on them with --data Pretraining, or label the images by a list of classes "
        "(glip pseudo-label --phrases)",
    ),
    "no-caption": _error(
        "image entries without a caption or without a number as id: {items}", "complete them"
    ),
    "no-caption/nouns": _error(
        "{place}.nouns: the images of this file have no captions",
        "remove nouns, or give a file with captions",
    ),
    "bad-span": _error(
        "annotations whose tokens_positive is not a list of [start, end]: {items}", _REMOVE
    ),
    "unnamed-box": _warning(
        "boxes whose tokens_positive holds no token of the caption, trained as background: {count}"
    ),
    # boxes
    "bad-box": _error("{what} is not {expected}: {items}", _REMOVE),
    "no-boxes/all": _error(
        "there is no box to train on ({counts})",
        "check that these are the right annotations, "
        "and that they are not marked as crowd (iscrowd) or difficult by mistake",
    ),
    "no-boxes/train": _warning(
        "the train split has no box to train on: it can only teach what is background"
    ),
    "no-boxes/other": _warning(
        "the {split} split has no box that counts: no ground truth, AP is not defined"
    ),
    "duplicate-box": _warning(
        "boxes that repeat a box of the same image and class: {count} ({items}); "
        "both count, but at most one can be found",
        "remove the copies",
    ),
    "difficult": _note(
        "objects that are marked difficult, not trained on and ignored in evaluation "
        "as in VOC: {count}"
    ),
    "crowd": _note("crowd boxes, not trained on and ignored in evaluation: {count} ({items})"),
    "many-objects": _warning(
        "images with more than {counted} boxes (up to {most}): {count} ({items}); AP counts "
        "{counted} detections of an image, so at most {highest} of all boxes can be found"
    ),
    "dropped-box/flat": _warning(
        "boxes without area, left out: {count} ({items})", "draw them again or remove them"
    ),
    "dropped-box/outside": _warning(
        "boxes outside of their image, left out: {count} ({items})",
        "check that the boxes are x, y, width, height in pixels of this image",
    ),
    "dropped-box/thin": _warning(
        "boxes with a side of one pixel or less, left out: {count} ({items})",
        "remove them, or use larger images",
    ),
    "clipped-box": _warning(
        "boxes that reach beyond their image, clipped to it: {count} ({items})"
    ),
    "normalised-boxes": _warning(
        "all numbers of the boxes are at most 1, like fractions of the image",
        "multiply them by width and height",
    ),
    "corner-boxes": _warning(
        "boxes look like corners x1, y1, x2, y2 instead of x, y, width, height: "
        "of {count} boxes, {leaving} reach beyond their image, and {corners} have an area in the "
        "file that fits corners",
        "convert them to x, y, width, height",
    ),
    "zero-based": _warning(
        "boxes that begin at pixel 0, although VOC counts pixels from 1: {count} ({items}); "
        "their corners are read as {kind}"
    ),
}
