"""A sheet of photos as training sees them, with their boxes: ``glip doctor --show-augmented``."""

import io
from pathlib import Path

from PIL import Image

from glip_lightning.common.files import write_bytes
from glip_lightning.config.recipe_checker import RecipeChecker
from glip_lightning.config.recipe_files import recipe_file
from glip_lightning.config.usage_errors import read_recipe
from glip_lightning.data.augment import Augment
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.index import Index
from glip_lightning.inference.drawing import draw_boxes
from glip_lightning.inference.sheet import FORMATS, check_sheet
from glip_lightning.ops.boxes import to_outside
from glip_lightning.training.data_module import DetectionData

PHOTOS, VIEWS = 6, 5  # rows and columns
SIDE = 240  # of a place on the sheet, in pixels


def save_augmented(file: str, recipe: str, folder: str, train: Index) -> str:
    """Write the first views of the first photos that the recipe trains on: one row per photo.

    Args:
        file: the sheet, a JPEG or PNG file.
        recipe: a recipe, by its name or path.
        folder: the photos, in the place of the recipe's own.
        train: what the training split of ``folder`` holds.

    Returns:
        a line for people: how many views the sheet has, and how many boxes are out of view.

    Raises:
        GLIPError: another kind of file than JPEG or PNG (code ``bad-value``).
        WrongUsage: the recipe cannot be meant.
    """
    check_sheet(file, "--show-augmented")
    data = _data_of(recipe, folder)
    dataset = DetectionDataset(data.choose(train), data.train_transform, data.copies, data.augment)
    photos = min(PHOTOS, len(dataset.index))
    sheet = Image.new("RGB", (VIEWS * SIDE, photos * SIDE), "white")
    for photo in range(photos):
        for epoch in range(VIEWS):
            sheet.paste(_draw_view(dataset, epoch, photo), (epoch * SIDE, photo * SIDE))
    path = Path(file)
    content = io.BytesIO()
    sheet.save(content, FORMATS[path.suffix.lower()], quality=92)
    write_bytes(path, content.getvalue())
    out_of_view = _count_out_of_view(data.augment, dataset.index)
    return f"{photos * VIEWS} views by {recipe}: {file}; {out_of_view}"


def _data_of(recipe: str, folder: str) -> DetectionData:
    """Return the data module of a recipe, with the photos of ``folder`` instead of its own."""
    path = recipe_file(recipe)
    photos = [("data", "CustomData"), ("data.root", folder)]
    return RecipeChecker().check(path, read_recipe(path), photos).data


def _draw_view(dataset: DetectionDataset, epoch: int, photo: int) -> Image.Image:
    """Return a photo with its boxes as training sees it in an epoch, small enough for its place."""
    sample = dataset[(epoch, photo)]
    picture = Image.fromarray(sample["image"].permute(1, 2, 0).numpy())
    boxes = to_outside(sample["boxes"], 1.0, 1.0).tolist()
    names = [dataset.class_names[label] for label in sample["labels"].tolist()]
    drawn = draw_boxes(picture, boxes, names, classes=dataset.class_names)
    drawn.thumbnail((SIDE, SIDE))
    return drawn


def _count_out_of_view(augment: Augment | None, index: Index) -> str:
    if augment is None:
        return "no photo is augmented, all boxes are in view"
    gone, boxes = augment.out_of_view(index)
    return f"augment {augment.name}: {gone} of {boxes} boxes are out of view at first"
