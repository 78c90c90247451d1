"""All that the fuzzer knows of the product: the one place to change when modules move."""

# ruff: noqa: F401 - imported for the other files of the fuzzer

import traceback
from pathlib import Path

import glip_lightning
from glip_lightning.adapter import RUN_ADAPTER, Adapter, apply_adapter, load_adapter, save_adapter
from glip_lightning.base_model import Base, weights_hash
from glip_lightning.cli import _explanation, main
from glip_lightning.data.captions import Captioned, Sentence, read_captions
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.doctor import diagnose
from glip_lightning.data.download import download
from glip_lightning.data.findings import Findings
from glip_lightning.data.grounding import GroundingDataset
from glip_lightning.data.hub import to_hub
from glip_lightning.data.images import ImageFiles, read_header, read_image
from glip_lightning.data.layouts import read_folder
from glip_lightning.data.transforms import Transform
from glip_lightning.data.unpack import unpack
from glip_lightning.doctor import _print as print_diagnosis
from glip_lightning.messages import WrongUsage, check_recipes
from glip_lightning.models.checkpoint import to_official
from glip_lightning.models.config import GLIPConfig, TextConfig
from glip_lightning.models.glip import GLIP
from glip_lightning.predictor import GLIPPredictor
from glip_lightning.pretrained import Task, load_folder, save
from glip_lightning.prompts import Phrase, build_prompts, clean_name, read_phrases_file
from glip_lightning.pseudo_label.grounding import grounding_content, phrase_scores
from glip_lightning.pseudo_label.journal import Journal
from glip_lightning.pseudo_label.thresholds import Thresholds, read_thresholds
from glip_lightning.query import encode_query
from glip_lightning.recipe import resolver
from glip_lightning.report import report
from glip_lightning.report.collect import collect
from glip_lightning.sweep.grid import read_grid
from glip_lightning.text import Tokenizer
from glip_lightning.tuned_prompt import TunedPrompt, save_prompt

PACKAGE = Path(glip_lightning.__file__).parent


def is_explained(error: BaseException) -> bool:
    """Return whether the user gets a message of ours and no traceback, as the command line decides it."""
    if isinstance(error, MemoryError):  # an input that asks for too much is to be refused
        return False
    return isinstance(error, WrongUsage) or _explanation(error) is not None


def place_of(error: BaseException) -> str:
    """Return ``file.py:function:line`` of the last frame of ours; of the last frame of all where none is ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    if not frames:
        return "?"
    frame = (ours or frames)[-1]
    name = Path(frame.filename).relative_to(PACKAGE) if ours else Path(frame.filename).name
    return f"{name}:{frame.name}:{frame.lineno}"
