"""The options that most runs need, of several hundred: the beginning of ``glip fit --help``."""

from typing import Any

from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

EVERYDAY = {
    "--config RECIPE": (
        "a recipe file, or the name of a shipped one (glip recipes lists them); options change it"
    ),
    "--data.root FOLDER": (
        "your photos with their annotations, or where the data of a benchmark are"
    ),
    "--data.task NAME": "a task of a benchmark: recipes of ODinW and of the generated world",
    "--data.shots N": "images per class to learn from: 0, 1, 3, 5, 10 or all",
    "--model.detector NAME": "glip-tiny, glip-large, glip-nano-c, a folder, a finished run",
    "--model.tuning CLASS": (
        "what is trained: FullTuning, PromptTuning, LinearProbe, LoRATuning, PartialTuning"
    ),
    "--run FOLDER": "for all that the run leaves",
    "--resume RUN": "go on with an interrupted run",
    "--trainer.max_epochs N": "when to end",
    "--trainer.max_steps N": "when to end, in steps of the optimizer",
    "--data.batch_size N": "images of one step, of all devices together",
    "--data.min_sizes [A,B]": "shorter sides to train at, in pixels",
    "--data.test_size N": "shorter side to evaluate at, in pixels",
}
"""Options with their value, and their purpose."""


class RecipeParser(LightningArgumentParser):
    """The parser of a verb that runs a recipe. Its help begins with the everyday options."""

    @override
    def format_help(self, *args: Any, **kwargs: Any) -> str:
        # one line instead of forty lines with all options
        self.usage = "%(prog)s --config RECIPE [--OPTION VALUE ...]"
        rows = [f"  {option:<24}{text}" for option, text in EVERYDAY.items()]
        everyday = "\n".join(["everyday options:", *rows])
        return f"{everyday}\n\nall options:\n\n{super().format_help(*args, **kwargs)}"
