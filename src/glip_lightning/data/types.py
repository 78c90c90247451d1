"""What the data give to the model: one sample, one batch."""

from typing import TYPE_CHECKING, Literal, TypedDict, get_args

if TYPE_CHECKING:  # readers of data need only the names of the splits, and torch is slow to import
    from torch import Tensor

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Sample(TypedDict):
    """One image with its boxes, after the transforms, before collation."""

    image: "Tensor"  # uint8 [3, H, W], RGB, already resized
    boxes: "Tensor"  # float32 [G, 4], inclusive, input frame
    labels: "Tensor"  # int64 [G], 0-based class index
    image_id: int
    original_size: tuple[int, int]  # height, width of the file
    name: str  # of the file, or another name that no other image has


class Batch(TypedDict):
    """Images of different sizes with the text of their *distinct* captions (U <= B)."""

    images: list["Tensor"]  # B times uint8 [3, H, W], RGB
    input_ids: "Tensor"  # int64 [U, T]
    attention_mask: "Tensor"  # int64 [U, T]
    caption_index: "Tensor"  # int64 [B]: row of input_ids that belongs to the image
    boxes: list["Tensor"]  # B times float32 [G, 4], inclusive, input frame
    labels: list["Tensor"]  # B times int64 [G]
    positive_maps: list["Tensor"]  # B times bool [G, T]: the tokens that name each box
    image_ids: list[int]
    original_sizes: list[tuple[int, int]]  # height, width of the file
    names: list[str]
