"""Imports for the server that trials are forked from: what each trial needs at its start.

No operator of torch runs here and no GPU is touched: a fork could use neither its threads nor the
GPU.
"""

import matplotlib.backends.backend_agg  # noqa: F401 - the curves of a trial's picture
from PIL import Image
from transformers import BertModel  # noqa: F401 - the text encoder of most detectors

from glip_lightning.config.recipe_checker import RecipeChecker
from glip_lightning.experiments.sweep import run_trial  # noqa: F401 - with all that it imports
from glip_lightning.training.logging.wandb_run import import_wandb

Image.init()
import_wandb()
RecipeChecker()  # imports the classes of recipes; their docstrings are read once, then kept
