"""What two processes do in tests/training/test_ddp.py: ``torchrun --nproc_per_node 2 ddp_job.py
PICTURES FOLDER``.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback, Trainer, seed_everything
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from glip_lightning.data.types import Batch
from glip_lightning.evaluation.coco_ap import CocoEvaluator
from glip_lightning.shapes.data_modules import Shapes
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.training.callbacks.ema import EMA
from glip_lightning.training.callbacks.estimate import Estimate
from glip_lightning.training.callbacks.global_batch import GlobalBatch
from glip_lightning.training.callbacks.resume import Resumable
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord
from glip_lightning.tuning.weight_tunings import FullTuning
from glip_lightning.weights.run_files import LAST

VARIANTS = ("glip-nano-a", "glip-nano-b", "glip-nano-c", "glip-nano")
Gradients = dict[str, Tensor]


class Record(Callback):
    """Losses of each batch and gradients of each optimizer step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.gradients: list[Gradients] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(
            trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean").item()
        )

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.gradients.append(
            {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}
        )


class Terminate(Callback):
    """One rank alone is told to stop, in the middle of an accumulation."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if (
            trainer.current_epoch == 1
            and batch_idx == 0
            and trainer.global_rank == trainer.world_size - 1
        ):
            os.kill(os.getpid(), signal.SIGTERM)


def fit(
    pictures: Path,
    images_per_device: int,
    *callbacks: Callback,
    lr: float = 1e-30,
    freeze: bool = False,
    **given: Any,
) -> Trainer:
    """Two epochs of 6 images, 4 to a batch; with ``lr=1e-30`` the weights stay what they were."""
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    data = Shapes(str(pictures), batch_size=4, min_sizes=(64,), max_size=64, test_size=64)
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    data.images_per_device = images_per_device
    module = GLIPModule(
        "glip-nano", "random", FullTuning(lr, text_lr=lr, freeze_at=2 if freeze else -1)
    )
    ckpt_path = given.pop("ckpt_path", None)
    settings = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[GlobalBatch(), *callbacks],
        **{"enable_checkpointing": False, "max_epochs": 2, **settings, **given},
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def detections(image_id: int) -> dict[str, Tensor]:
    """The box of an image, moved by an offset of its own."""
    corner = torch.tensor([[10.0, 10.0, 40.0, 40.0]])
    return {
        "boxes": corner + image_id % 4,
        "scores": torch.tensor([0.5 + image_id / 20]),
        "labels": torch.tensor([0]),
    }


def average_precision(seen: list[int], total: int) -> dict[str, Any]:
    """AP of the images that this rank has seen together with the other ranks'."""
    box = {"category_id": 1, "bbox": [10, 10, 30, 30], "area": 900, "iscrowd": 0}
    truth = {
        "images": [{"id": i, "height": 64, "width": 64} for i in range(total)],
        "categories": [{"id": 1, "name": "square"}],
        "annotations": [{"id": i + 1, "image_id": i, **box} for i in range(total)],
    }
    evaluator = CocoEvaluator(truth, ["square"])
    evaluator.update(seen, [detections(i) for i in seen])
    return evaluator.compute()


class Step(nn.Module):
    """The training step as DDP wraps it."""

    def __init__(self, module: GLIPModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch) -> Tensor:
        return self.module.training_step(batch, 0)


def batch_of(module: GLIPModule, boxes: bool) -> Batch:
    ids, mask = module.tokenizer.encode(["square"])
    found = torch.tensor([[8.0, 8.0, 50.0, 50.0]])[: int(boxes)]
    row = torch.zeros(len(found), ids.shape[1], dtype=torch.bool)
    row[:, 1] = True
    return Batch(
        images=[torch.full((3, 64, 64), 100, dtype=torch.uint8)],
        input_ids=ids,
        attention_mask=mask,
        caption_index=torch.tensor([0]),
        boxes=[found],
        labels=[torch.zeros(len(found), dtype=torch.int64)],
        positive_maps=[row],
        image_ids=[0],
        original_sizes=[(64, 64)],
        names=[""],
    )


def without_gradient(variant: str, boxes: bool) -> list[str]:
    """Trainable parameters without a gradient in two DDP steps, with part of the network frozen."""
    seed_everything(0, verbose=False)
    module = GLIPModule(variant, "random")
    module.tuning.setup(module.model, None, Tokenizer.nano())
    step = DistributedDataParallel(Step(module))
    for _ in range(2):  # DDP notices in the second step what had no gradient in the first
        module.zero_grad()
        loss = step(batch_of(module, boxes))
        assert torch.isfinite(loss)
        loss.backward()
    found = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    return [
        *found,
        *(
            name
            for name, p in module.named_parameters()
            if not p.requires_grad and p.grad is not None
        ),
    ]


def resumed(pictures: Path, folder: Path) -> bool:
    """Whether a run that one rank's SIGTERM has ended goes on to the weights of the run that none
    has.
    """
    ddp: dict[str, Any] = {
        "strategy": "ddp",
        "devices": 2,
        "lr": 1e-3,
        "enable_checkpointing": True,
    }
    fit(pictures, 1, EMA(), Resumable(folder / "whole"), **ddp)
    with suppress(SystemExit):  # Lightning's way to end after an interruption
        fit(pictures, 1, Terminate(), EMA(), Resumable(folder / "parts"), **ddp)
        return False
    path = folder / "parts" / LAST
    place = torch.load(path, weights_only=True)["Shapes"]
    assert (place["epoch"], place["batches"]) == (1, 2), place
    fit(pictures, 1, EMA(), Resumable(folder / "parts"), ckpt_path=path, **ddp)
    one, two = (torch.load(folder / name / LAST, weights_only=True) for name in ("whole", "parts"))
    return all(
        torch.equal(tensor, two[part][name])
        for part in ("state_dict", "current_model_state")
        for name, tensor in one[part].items()
    )


def main(pictures: Path, folder: Path) -> None:
    record, estimate = Record(), Estimate(RunRecord("fit"))
    ddp: dict[str, Any] = {"strategy": "ddp", "devices": 2, "limit_val_batches": 0}
    fit(pictures, 1, record, freeze=True, **ddp)
    torch.save(record.gradients, folder / f"gradients{dist.get_rank()}.pt")
    rank = dist.get_rank()
    result = {
        "losses": record.losses,
        "five": average_precision([[0, 2, 4], [1, 3]][rank], 5),
        "padded": average_precision([0], 1),
        "none on one rank": average_precision([[0], []][rank], 1),
        "without gradient": {v: without_gradient(v, boxes=False) for v in VARIANTS},
        "boxes on one rank": {v: without_gradient(v, boxes=rank == 0) for v in VARIANTS},
        "resumed": resumed(pictures, folder),
    }
    fit(pictures, 1, estimate, **{**ddp, "max_epochs": 12})
    result["estimated"] = estimate.seconds is not None
    (folder / f"result{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
