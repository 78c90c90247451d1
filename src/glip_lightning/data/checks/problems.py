"""All that can be wrong with data, or is good to know about them: one row per problem.

A reader reports a code, a place and the values of the row's braces; what is said about it stands here alone. Where a
code has several rows, a word behind a slash tells them apart; programs and users see the code before it.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Problem:
    """A row of the table."""

    level: Level  # "error": must be mended before training; "warning": is used in part or changed; "info"
    text: str
    cure: str = ""  # what to do, empty where nothing has to be done

    def message(self, **values: object) -> str:
        """Return text and cure with the values in the place of the braces."""
        return "; ".join(part.format(**values) for part in (self.text, self.cure) if part)


def _error(text: str, cure: str = "") -> Problem:
    return Problem("error", text, cure)


def _warning(text: str, cure: str = "") -> Problem:
    return Problem("warning", text, cure)


def _note(text: str) -> Problem:
    return Problem("info", text)


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
        "which file has the annotations, {names}? call it {expected}; if each has some of the pictures, merge them"
    ),
    "missing-file": _error("no such {kind}", "check the path"),
    "not-json": _error("not readable JSON ({reason})", _JSON),
    "nested-too-deeply": _error("not readable JSON (nested too deep)", _JSON),
    "not-coco": _error(
        "no list {key!r} at its top level",
        'expected a COCO file, an object {{"images": [...], "annotations": [...], "categories": [...]}}',
    ),
    "duplicate-key": _error(
        "the key {key} comes twice in one object, with other values", "keep one of them"
    ),
    "other-tool": _error("this is {tool}, which is not read", "{cure}"),
    "not-captions": _error(
        "not readable captions ({reason})", "it takes images with captions, see --help"
    ),
    "not-captions/ending": _error("captions are read from {known}, not from {ending!r}"),
    "bad-entry": _error("{count} of {total} entries cannot be used: {items}", "correct them"),
    "no-caption/file": _error(
        "there is no caption in it", "it takes images with captions, see --help"
    ),
    "not-yaml": _error("not readable YAML ({reason})", "correct it or export it again"),
    "not-yaml/keys": _error("holds {value}", "expected keys names, train, val, test"),
    "no-pictures": _error("no picture is where it should be ({looked})", "correct the paths"),
    "bad-splits": _error("{reason}", "correct it, or delete it to split by the rule: {rule}"),
    "hub-unreadable": _error("cannot be loaded by `datasets` ({reason})", "{cure}"),
    "no-known-split": _error(
        "none of its splits is called train, validation or test", "it has {names}"
    ),
    "unknown-columns": _error(
        "these columns are no detection set: {columns}{reason}", "wanted: {wanted}"
    ),
    # the layout
    "two-layouts": _warning("taken as {name}; it also looks like {others}, not used"),
    "stray-image": _warning("{count} pictures in {folder} are not listed and not used: {items}"),
    "stray-image/folders": _note(
        "{count} pictures are in folders of no split and not used: {items}"
    ),
    "unread-picture": _warning(
        "{count} pictures or videos have formats that are not read: {items}",
        "convert them (or frames) to JPEG or PNG",
    ),
    "unannotated-split": _warning(
        "the {split} folder has pictures, but no annotation file{named}: it is not used"
    ),
    "unused-split": _warning("its split {name!r} is no train, valid or test split and not used"),
    "missing-split/train": _warning("there is no train split: nothing can be trained on it"),
    "missing-split/valid": _warning(
        "there is no valid split: the last weights are kept instead of the best ones (test is not used to choose)"
    ),
    "missing-split/test": _warning(
        "there is no test split: the result is the AP of the valid split"
    ),
    "missing-split-path/train": _error("train: {entry} {fault}", _PATH),
    "missing-split-path/other": _warning("{split}: {entry} {fault}", "it is left out"),
    "empty-split/train": _error("the train split is empty: nothing can be trained on it"),
    "empty-split/other": _warning("the {split} split is empty: no ground truth, AP is not defined"),
    "split-by-rule": _warning(
        "there is one set of {count} images and no splits: {counts} (seed {seed}; {rule})"
    ),
    "split-not-written": _warning(
        "the splits cannot be written there ({reason}); the rule gives the same ones again"
    ),
    "split-file": _note("the splits are those of this file: {counts}"),
    "split-twice": _error("images in two of its lists: {items}", "keep each in one"),
    "split-unlisted": _warning(
        "{count} {what} are in none of its lists and not used: {items}", "add them to a list"
    ),
    "split-gone": _warning(
        "{count} names in its lists are no image (any more): {items}", "take them out"
    ),
    "leak": _warning(
        "the same image is in two splits: {items}", "take it out of one, or the AP is too good"
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
        "names of classes that are missing or no text: {items}", "write them"
    ),
    "background-category": _warning(
        "category 0 ({name!r}) has no box and is the group of the others: it is no class"
    ),
    "class-not-chosen": _warning(
        "{count} boxes of {items} in the {split} split are left out; their images stay"
    ),
    "class-count": _warning("nc is {given}, but there are {count} names; these count"),
    "bad-names": _error("{fault}", "{cure}"),
    "broken-text": _error(
        "half a character (a lone surrogate) is in {items}", "write the names anew"
    ),
    "blank-name": _warning("category {number} has no name; it is called {name!r}", "name it"),
    "duplicate-name": _warning(
        "categories {number} and {other} are both called {name!r}, no words tell them apart",
        "rename one",
    ),
    "name-too-long": _error(
        "{count} classes are too long for a caption, which has room for {room} tokens of a class: {items}",
        "say it in a few words",
    ),
    "classes-differ/numbers": _error(
        "the {split} split has classes that {first} lacks, {unknown}, and numbers {other} differently",
        "give all splits the same categories",
    ),
    "classes-differ/names": _warning(
        "the {split} split lists {own}, {first} {others}; matched by name"
    ),
    "no-tokens": _warning(
        "no token names {items}: never trained, never found", "give them a name of letters"
    ),
    "unknown-words": _warning("the vocabulary lacks words of {items}", "use plainer names"),
    "long-name": _warning("very long names: {items}", "a few words say more"),
    "unknown-words/all": _error(
        "the vocabulary has no word of any class: {items}", "use other words"
    ),
    "unread-words": _note(
        "{detector} was never trained on the words {items}: it can only guess what they mean until it is trained on "
        "examples; or say it in words that it knows"
    ),
    "names-alike": _warning(
        "classes of the same words, nothing tells them apart: {items}",
        "rename one (what stands in brackets is left out), or give --data.phrases_file",
    ),
    "names-similar": _warning(
        "names that differ in one letter: {items}", "call a thing by one name"
    ),
    "joined-phrases": _warning(
        "one phrase each, where several may be meant: {items}",
        "a period with a blank behind it separates phrases",
    ),
    "joined-phrases/numbers": _warning(
        "numbers, where words are read: {items}", "name the classes by their words"
    ),
    "other-order": _warning(
        "{detector} was trained with these classes in another order, {items}",
        "in that order it finds more",
    ),
    "untrained-class": _warning("no box to train on: {items}", "add examples or remove the class"),
    "missing-class": _warning(
        "the {split} split has no box of {items}: its AP says nothing about them"
    ),
    # images
    "no-image-id": _error(
        "image entries without an id that is a whole number: {items}", "number them"
    ),
    "duplicate-image-id": _error(
        "image ids that occur twice: {items}", "give every image an id of its own"
    ),
    "text-id": _warning(
        "{count} ids are no plain whole numbers (in quotes or with a point); read as numbers"
    ),
    "no-file-name": _error("image {number}: file_name is {value}", "write the name of its file"),
    "outside-folder": _error("{what} that lead out of {folder}: {items}", "write paths inside it"),
    "other-names": _warning(
        "{count} names are of another system or folder; taken for the only pictures that end like them: {items}",
        "write the names that the files have here",
    ),
    "missing-image": _error(
        "{count} of {total} images are not in {folder}: {items}",
        "add the files or take their entries out",
    ),
    "missing-image/files": _error(
        "annotation files whose picture is not there: {items}",
        "add the pictures or remove the files",
    ),
    "unreadable-image": _error("{count} images cannot be read: {items}"),
    "skipped-image": _warning("{count} of {total} images cannot be read and are left out: {items}"),
    "undecodable-image": _error("{count} images cannot be decoded: {items}"),
    "wrong-size": _error(
        "sizes differ from those of the files: {items}",
        "correct width and height and check the boxes",
    ),
    "exif-turned": _warning("annotated as EXIF turns them, and turned so for training: {items}"),
    "exif-kept": _warning(
        "EXIF asks for a turn, but sizes and boxes are those of the stored pixels, which stay: {items}"
    ),
    "several-frames": _warning(
        "{count} pictures have several frames, of which the first is used: {items}"
    ),
    "flat-image": _warning(
        "{count} pictures are nearly of one colour: {items}",
        "where a camera fills a small part of 16 bits, stretch it over all of them",
    ),
    "extreme-image": _warning(
        "very small or very long images: {items}", "check whether they are meant"
    ),
    "duplicate-image/files": _error(
        "pictures with two annotation files: {items}", "correct or remove one of them"
    ),
    "duplicate-image/entries": _warning(
        "{count} pictures are listed more than once: {items}; each entry is an image with its own boxes only",
        "merge the entries of one picture",
    ),
    "duplicate-image/pixels": _note("the same pixels: {items}; copies count twice"),
    "image-without-boxes": _note(
        "{count} of {total} images have no box to train on ({items}); they are negatives"
    ),
    # annotations
    "broken-xml": _error("annotation files that cannot be read: {items}", "export them again"),
    "broken-json": _error("annotation files that cannot be read: {items}", "export them again"),
    "stray-annotation": _warning("{count} files of annotations are not used: {items}"),
    "left-out-shape": _warning(
        "{count} shapes have no box or are marked as no object, and are left out: {items}"
    ),
    "missing-annotation": _error(
        "{count} of {total} pictures have no XML file: {items}",
        "add the files or take the lines out",
    ),
    "no-labels": _error(
        "none of {count} pictures has a label file", "expected labels/NAME.txt for images/NAME.jpg"
    ),
    "stray-label": _warning("{count} label files belong to no picture: {items}"),
    "empty-labels": _warning("all {count} label files are empty; they were read in {items}"),
    "key-points": _note("{count} lines are a box and key points, which are left out ({items})"),
    "key-points/unsaid": _error(
        "lines that look like a box with key points x y visibility: {items}",
        "say kpt_shape: [points, 3] in data.yaml",
    ),
    "key-points/likely": _warning(
        "every polygon of the {count} lines ({items}) lies inside a box that its first four numbers would be",
        "these may be boxes with key points: say kpt_shape: [points, numbers of each] in data.yaml",
    ),
    "polygon": _note("{count} lines are polygons; the boxes around them are used ({items})"),
    "class-lists-differ": _warning(
        "{other} lists {names} instead; it is not used", "keep the right list"
    ),
    "unused-list": _warning(
        "it lists {count} pictures for {split}, which is not how the data are divided: it is not used",
        "remove it, or name it as a split where the data are described",
    ),
    "label-unreadable": _error("label files that are no UTF-8 text: {items}", "export them again"),
    "label-numbers": _error(
        "lines that are neither 'class cx cy w h' nor 'class x y x y x y ...': {items}", _REMOVE
    ),
    "label-not-a-number": _error("lines with something that is no finite number: {items}", _REMOVE),
    "label-outside": _error(
        "coordinates outside 0..1: {items}",
        "divide pixels by the width and the height of the picture",
    ),
    "unknown-class": _error(
        "class numbers that have no name (there are names for {first} to {last}): {items}",
        "add the names, or correct the numbers",
    ),
    "confidence-column": _warning(
        "{count} lines have a sixth number, a confidence; it is ignored: {items}"
    ),
    "more-numbers": _error(
        "lines with a number behind the box that is no confidence: {items}",
        "take out tracks; export turned boxes as their corners, class x1 y1 x2 y2 x3 y3 x4 y4",
    ),
    "shared-label": _warning(
        "{count} label files are read for two pictures of one name: {items}",
        "give each its own (NAME.jpg.txt, NAME.png.txt), or rename one picture",
    ),
    "duplicate-annotation-id": _error(
        "annotation ids that occur twice: {items}", "give every annotation an id of its own"
    ),
    "unknown-image": _error(
        "annotations of images that are not in the file: {items}", "add the images or take them out"
    ),
    "unknown-category": _error(
        "annotations of unknown categories: {items}", "the file's categories are {known}"
    ),
    "box-of-mask": _warning(
        "{count} annotations have no bbox; the boxes around their masks (polygons or RLE in segmentation) are used"
    ),
    "turned-box": _warning(
        "{count} boxes are turned or polygons; the upright boxes around them are used ({items})"
    ),
    "annotation-id-zero": _warning(
        "annotation 0 exists, which COCO's evaluation takes for no match; annotations are numbered anew"
    ),
    "missing-keys": _warning(
        "{count} annotations lack area or iscrowd; width x height and 0 are used"
    ),
    "caption-phrases": _error(
        "{count} of its boxes name phrases of captions (tokens_positive), no classes",
        "train on them with --data Pretraining, or label the pictures by a class list (glip pseudo-label --phrases)",
    ),
    "no-caption": _error(
        "image entries without a caption or without a number as id: {items}", "complete them"
    ),
    "no-caption/nouns": _error(
        "{place}.nouns: its images have no captions", "leave it out, or name a grounding file"
    ),
    "bad-span": _error(
        "annotations whose tokens_positive is no list of [start, end]: {items}", _REMOVE
    ),
    "unnamed-box": _warning(
        "{count} boxes whose tokens_positive holds no token of the caption are taught as background"
    ),
    # boxes
    "bad-box": _error("{what} is not {expected}: {items}", _REMOVE),
    "no-boxes/all": _error(
        "there is no box to train on ({counts})",
        "check that these are the right annotations, and none is marked as a crowd (iscrowd) or difficult by mistake",
    ),
    "no-boxes/train": _warning(
        "the train split has no box to train on: it can only teach what is background"
    ),
    "no-boxes/other": _warning(
        "the {split} split has no box that counts: no ground truth, AP is not defined"
    ),
    "duplicate-box": _warning(
        "{count} boxes are in their image twice, with the same class ({items}): both count, one is found at most",
        "remove the copies",
    ),
    "difficult": _note(
        "{count} objects are marked difficult: ignored in evaluation and not trained on, as VOC does"
    ),
    "crowd": _note("{count} crowd boxes are ignored in evaluation and not trained on ({items})"),
    "many-objects": _warning(
        "{count} images have more than {counted} boxes, up to {most} ({items}): AP counts {counted} detections an "
        "image, so that at most {highest} of the boxes can be found"
    ),
    "dropped-box/flat": _warning(
        "{count} boxes without area are left out ({items})", "draw them again or remove them"
    ),
    "dropped-box/outside": _warning(
        "{count} boxes outside the image are left out ({items})",
        "check that the boxes are x, y, width, height in pixels of this image",
    ),
    "dropped-box/thin": _warning(
        "{count} boxes one pixel thin are left out ({items})", "remove them, or use larger images"
    ),
    "clipped-box": _warning("{count} boxes leave their image and are clipped to it ({items})"),
    "normalised-boxes": _warning(
        "every box is below one pixel: these look like fractions of the image",
        "multiply them by width and height",
    ),
    "corner-boxes": _warning(
        "these look like corners x1, y1, x2, y2 instead of x, y, width, height: of {count} boxes {leaving} leave their "
        "image and {corners} have the area of such corners",
        "convert them",
    ),
    "zero-based": _warning(
        "{count} boxes begin at 0 where VOC counts from 1 ({items}); taken as {kind}"
    ),
}
