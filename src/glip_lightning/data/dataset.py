"""An index of images and boxes as training samples."""

from PIL import Image
from torch.utils.data import Dataset

from glip_lightning.data.augment import Augment
from glip_lightning.data.index import Index
from glip_lightning.data.sampler import Key, KeyedSample
from glip_lightning.data.transforms import Transform


class DetectionDataset(Dataset[KeyedSample]):
    """Samples of an index; images without boxes train as negatives.

    With ``copies`` every image comes that many times in an epoch, in views of its own (the official
    DATASETS.GENERAL_COPY): item i shows image ``i % N``.
    """

    def __init__(
        self, index: Index, transform: Transform | None = None, copies: int = 1, augment: Augment | None = None
    ) -> None:
        if copies < 1:
            raise ValueError(f"copies={copies}: every image has to come at least once an epoch")
        self.index, self.copies = index, copies
        self.transform, self.augment = transform or Transform(), augment

    def __len__(self) -> int:
        return len(self.index) * self.copies

    @property
    def class_names(self) -> list[str]:
        return list(self.index.class_names)

    @property
    def image_ids(self) -> list[int]:
        """Each image once, whatever the copies."""
        return self.index.ids.tolist()

    def __getitem__(self, index: Key | int) -> KeyedSample:
        """The sample of ``(epoch, item)``; an item alone means epoch 0."""
        epoch, item = (0, index) if isinstance(index, int) else index
        image = item % len(self.index)
        picture = self.picture(image)
        boxes, labels = self.index.target(image)
        if self.augment is not None:
            view = self.augment.view(picture.height, picture.width, boxes, epoch, item)
            picture, boxes, labels = view.pixels(picture), view.boxes(boxes), labels[view.kept]
        resized, boxes = self.transform(picture, boxes, epoch, item)
        if self.augment is not None:
            resized = self.augment.recolour(resized, epoch, item)
        return KeyedSample(
            image=resized,
            boxes=boxes,
            labels=labels,
            image_id=int(self.index.ids[image]),
            original_size=self.index.size(image),
            name=self.index.name(image),
            epoch=epoch,
            index=item,
        )

    def picture(self, image: int) -> Image.Image:
        """Image ``image`` in the view that its boxes refer to."""
        row, upright = int(self.index.rows[image]), bool(self.index.upright[image])
        picture = self.index.source.read(row, upright=upright)
        if (picture.height, picture.width) != self.index.size(image):
            raise ValueError(
                f"{self.index.where}: {self.index.name(image)} is {picture.width} x {picture.height} now and was "
                f"{self.index.size(image)[::-1]} when the data were read; leave files alone while they are in use"
            )
        return picture
