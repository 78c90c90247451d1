"""All that the fuzzer knows of the product: the one place to change when modules move."""

# ruff: noqa: F401 - imported for the other files of the fuzzer

import traceback
from pathlib import Path

import glip_lightning
from glip_lightning.app.cli import _explanation, main
from glip_lightning.app.examine_data import print_diagnosis
from glip_lightning.config.recipe_checker import RecipeChecker
from glip_lightning.config.usage_errors import check_recipes
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.data.benchmarks.download import download_tasks
from glip_lightning.data.benchmarks.unpack import unpack
from glip_lightning.data.checks.class_words import Reader
from glip_lightning.data.checks.diagnosis import diagnose
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.formats.captioned_images import Captioned, Sentence, read_captions
from glip_lightning.data.formats.hub_dataset import to_hub
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.data.grounding import GroundingDataset
from glip_lightning.data.images import ImageFiles, read_header, read_image
from glip_lightning.data.transforms import Transform
from glip_lightning.experiments.report.collect import collect
from glip_lightning.experiments.report.write import write_report
from glip_lightning.experiments.sweep.grid import read_grid
from glip_lightning.inference.predictor import Predictor
from glip_lightning.inference.pseudo_label.grounding_file import grounding_content, phrase_scores
from glip_lightning.inference.pseudo_label.journal import Journal
from glip_lightning.inference.pseudo_label.teacher import STORED_FROM
from glip_lightning.inference.thresholds import Thresholds, read_thresholds
from glip_lightning.models.config import GLIPConfig, TextConfig
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.query import encode_query
from glip_lightning.text.captions import build_prompts
from glip_lightning.text.phrases import Phrase, clean_name, read_phrases_file
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.weights.adapter import Adapter, apply_adapter, load_adapter, save_adapter
from glip_lightning.weights.base_model import RUN_ADAPTER, Base, weights_hash
from glip_lightning.weights.load import Task, load_folder, save
from glip_lightning.weights.official_checkpoint import to_official
from glip_lightning.weights.prompt_file import TunedPrompt, save_prompt

PACKAGE = Path(glip_lightning.__file__).parent


def is_explained(error: BaseException) -> bool:
    """Return whether the user gets a message of ours and no traceback, as the command line decides
    it.
    """
    if isinstance(error, MemoryError):  # an input that asks for too much is to be refused
        return False
    return isinstance(error, WrongUsage) or _explanation(error) is not None


def place_of(error: BaseException) -> str:
    """Return ``file.py:function:line`` of the last frame of ours; of the last frame of all where
    none is ours.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    if not frames:
        return "?"
    frame = (ours or frames)[-1]
    name = Path(frame.filename).relative_to(PACKAGE) if ours else Path(frame.filename).name
    return f"{name}:{frame.name}:{frame.lineno}"
