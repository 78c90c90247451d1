"""The plugin that offers the generated world, by name, to the layers below it."""

from pathlib import Path

from glip_lightning.common import registry
from glip_lightning.common.registry import Later

WEIGHTS = Path(__file__).parent / "nano"
"""One exchange folder per detector, in half precision, with a model card."""


def register() -> None:
    """Add all rows of the generated world to the tables, without any import of it."""
    registry.tasks.add("shapes13", Later("glip_lightning.shapes.shapes13:TASK_SET"))
    for name in ("Shapes", "ShapesDetection", "ShapesPretraining", "NaturalPretraining"):
        registry.data_modules.add(name, Later(f"glip_lightning.shapes.data_modules:{name}"))
    registry.callbacks.add("Alignment", Later("glip_lightning.shapes.alignment:Alignment"))
    for folder in sorted(WEIGHTS.iterdir()):
        registry.detector_weights.add(folder.name, folder)
        limit = "knows drawn shapes only, no photos (glip-tiny does)"
        registry.detector_limits.add(folder.name, limit)
    registry.report_sections.add("claims", Later("glip_lightning.shapes.claim_sections:SECTIONS"))
