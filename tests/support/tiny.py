"""A fit of a few steps: generated pictures of 96 pixels, the nano detector with random weights, no
files by itself.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader

from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.shapes.data_modules import Shapes
from glip_lightning.shapes.task_pictures import write_task
from glip_lightning.text.captions import Prompt
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.training.module import GLIPModule
from glip_lightning.tuning.base import ParameterGroup, Tuning
from glip_lightning.weights.load import RUN_DETECTOR, Task, load_detector, save

TRAIN_IMAGES = 4  # two steps per epoch


def tiny_data(folder: Path, **options: Any) -> Shapes:
    write_task(folder / "Blocks", counts={"train": TRAIN_IMAGES, "valid": 2, "test": 2})
    tiny: dict[str, Any] = {
        "batch_size": 2,
        "min_sizes": (96,),
        "max_size": 128,
        "test_size": 96,
        "flip": 0,
    }
    data = Shapes(str(folder), **tiny | options)
    # no class of its own, which messages would list; and not the usual number of pictures
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    return data


def tiny_module(tuning: Tuning | None = None, **options: Any) -> GLIPModule:
    seed_everything(0, verbose=False)
    return GLIPModule("glip-nano", "random", tuning, **options)


def tiny_trainer(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    """No loggers, no checkpoints and no progress bar unless asked for."""
    defaults: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "accelerator": "cpu",
        "gradient_clip_val": 1.0,
        "max_epochs": 2,
    }
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **defaults | options)


def weights(module: LightningModule) -> dict[str, torch.Tensor]:
    return {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}


def validation_ap(module: GLIPModule) -> float:
    """AP of the last validation."""
    metrics = module.record.metrics["val"]
    assert metrics is not None
    return metrics["AP"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit-equal, and neither empty."""
    return (
        bool(one)
        and one.keys() == other.keys()
        and all(torch.equal(one[key], other[key]) for key in one)
    )


class Scripted(LightningModule):
    """One weight vector, trained on a scripted factor of the loss per step, validated to a scripted
    AP per time.
    """

    def __init__(
        self, aps: Sequence[float] = (), factors: Mapping[int, float] | None = None
    ) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1, bias=False)
        nn.init.ones_(self.layer.weight)
        self.aps, self.factors = list(aps), factors or {}

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Loss 4 at first, times the factor of this step or of the last step that has one."""
        given = [step for step in self.factors if step <= self.global_step]
        return self.layer(batch).square().mean() / 4 * (self.factors[max(given)] if given else 1.0)

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        if self.aps:
            self.log("val/AP", self.aps[self.current_epoch])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=0)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.ones(8, 4), batch_size=1)  # eight steps per epoch

    def val_dataloader(self) -> DataLoader:
        return DataLoader(torch.ones(1, 4), batch_size=1)


class Offset(Tuning):
    """A learned offset on every token: parameters of its own, a frozen detector."""

    learns_text = True

    def __init__(self) -> None:
        super().__init__()
        self.captions: list[str] = []
        self.encoded: list[Tensor] = []

    def setup(
        self, model: GLIP, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> list[ParameterGroup]:
        assert prompt is not None
        self.captions.append(prompt.caption)
        model.requires_grad_(False)
        self.offset = nn.Parameter(torch.zeros(model.prompt_width))
        return [ParameterGroup(name="offset", params=[self.offset], lr=0.1, weight_decay=0.0)]

    def encode_text(self, model: GLIP, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        self.encoded.append(input_ids)
        text = model.encode_text(input_ids, attention_mask)
        return TextFeatures(text.hidden + self.offset, text.mask)


def write_sure_run(folder: Path) -> Path:
    """Make the folder of a finished run whose random detector is sure of itself, so that there are
    boxes.
    """
    torch.manual_seed(0)
    loaded = load_detector("glip-nano", "random")
    with torch.no_grad():
        loaded.model.grounding.token_bias.fill_(1.0)
    task = Task((Phrase("raccoon"), Phrase("dog")), (128, 256))
    save(loaded.model, loaded.tokenizer, folder / RUN_DETECTOR, task)
    return folder
