"""Image files to 8-bit RGB, whatever they hold."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def read_image(path: str | Path, *, upright: bool) -> Image.Image:
    """The image file ``path`` as PIL RGB; grey, palette, CMYK, 16-bit and transparent ones included.

    ``upright=True`` turns the photo as its EXIF orientation says, as a viewer does: right for a photo that
    a user looks at. ``upright=False`` keeps the stored pixels, to which the boxes of a COCO file refer.
    Alpha is dropped, as in the official ``Image.open(path).convert("RGB")``. A file that is missing,
    truncated or no image is an error that names it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such image file; check the path")
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file) if upright else file
            return to_rgb(image)
    except Exception as error:  # the decoders of PIL let all kinds of errors through
        raise ValueError(f"{path}: not a readable image ({error}); replace the file or remove it") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to 8-bit RGB; levels of 16 bits are scaled, not clipped."""
    if image.mode.startswith("I"):  # 16 bits and more: convert("RGB") would clip nearly all to white
        return Image.fromarray(_high_byte(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats; save it with 8 or 16 bits per channel")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns when a transparent palette goes straight to RGB
    return image.convert("RGB")


def _high_byte(values: np.ndarray) -> np.ndarray:
    """Grey levels 0..65535 to uint8, 65535 becoming 255."""
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"grey levels {values.min()}..{values.max()} exceed 16 bits; save it with 8 or 16")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
