"""A sheet of what training by a recipe shows of some photos, with their boxes: ``glip doctor --show-augmented``."""

import io
from pathlib import Path

from PIL import Image

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import write_bytes
from glip_lightning.config.recipe_checker import RecipeChecker
from glip_lightning.config.recipe_files import recipe_file
from glip_lightning.config.usage_errors import read_recipe
from glip_lightning.data.augment import Augment
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.index import Index
from glip_lightning.inference.drawing import draw_boxes
from glip_lightning.ops.boxes import to_outside
from glip_lightning.training.data_module import DetectionData

PHOTOS, VIEWS = 6, 5  # rows and columns
SIDE = 240  # of a place on the sheet, in pixels
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def save_sheet(file: str, recipe: str, folder: str, train: Index) -> str:
    """Write the first views, one a column, of the first photos that the recipe trains on.

    Returns:
        a line for people: how many views the sheet has, and how many boxes are out of view.

    Raises:
        GLIPError: another kind of file than JPEG or PNG (code ``bad-value``).
        WrongUsage: the recipe cannot be meant.
    """
    path = Path(file)
    if path.suffix.lower() not in FORMATS:
        raise GLIPError(
            f"--show-augmented {file}: expected a name with {', '.join(FORMATS)}", code="bad-value"
        )
    data = _data_of(recipe, folder)
    dataset = DetectionDataset(data.choose(train), data.train_transform, data.copies, data.augment)
    photos = min(PHOTOS, len(dataset.index))
    sheet = Image.new("RGB", (VIEWS * SIDE, photos * SIDE), "white")
    for photo in range(photos):
        for epoch in range(VIEWS):
            sheet.paste(_view(dataset, epoch, photo), (epoch * SIDE, photo * SIDE))
    content = io.BytesIO()
    sheet.save(content, FORMATS[path.suffix.lower()], quality=92)
    write_bytes(path, content.getvalue())
    return (
        f"{photos * VIEWS} views by {recipe}: {file}; {_out_of_view(data.augment, dataset.index)}"
    )


def _data_of(recipe: str, folder: str) -> DetectionData:
    """Return the data module of a recipe, with the photos of ``folder`` instead of its own."""
    path = recipe_file(recipe)
    return (
        RecipeChecker()
        .check(path, read_recipe(path), words=["--data=CustomData", f"--data.root={folder}"])
        .data
    )


def _view(dataset: DetectionDataset, epoch: int, photo: int) -> Image.Image:
    """What training sees of a photo in an epoch, with its boxes, made small enough for its place."""
    sample = dataset[(epoch, photo)]
    picture = Image.fromarray(sample["image"].permute(1, 2, 0).numpy())
    boxes = to_outside(sample["boxes"], 1.0, 1.0).tolist()
    names = [dataset.class_names[label] for label in sample["labels"].tolist()]
    drawn = draw_boxes(picture, boxes, names, classes=dataset.class_names)
    drawn.thumbnail((SIDE, SIDE))
    return drawn


def _out_of_view(augment: Augment | None, index: Index) -> str:
    if augment is None:
        return "no photo is augmented, all boxes are in view"
    gone, boxes = augment.out_of_view(index)
    return f"augment {augment.name}: {gone} of {boxes} boxes are out of view at first"
