"""A tuned prompt as one small file: the final text features of a task, and for which detector they were made.

The file is safetensors: ``features.<k>`` float32 [T, D] and ``mask.<k>`` bool [T] of caption k; all else is JSON in
its metadata. Whoever has it needs no text encoder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .base_model import Base, read_base
from .files import write_bytes
from .models.language import TextFeatures
from .prompts import Phrase, Prompt
from .query import Query

PROMPT_NAME = "prompt.safetensors"
"""Of a finished run that tuned a prompt."""

KEY, FORMAT = "glip_lightning.prompt", 1


class TunedPrompt(NamedTuple):
    """Classes with their final text features (on the CPU)."""

    query: Query
    tuning: str  # class and settings, for people to read
    base: Base


def save_prompt(path: Path, prompt: TunedPrompt) -> None:
    """Write the file at once or not at all."""
    query, tensors = prompt.query, {}
    for k, text in enumerate(query.texts):
        tensors[f"features.{k}"] = text.hidden[0].detach().to("cpu", torch.float32).contiguous()
        tensors[f"mask.{k}"] = text.mask[0].cpu().contiguous()
    content = {
        "format": FORMAT,
        "tuning": prompt.tuning,
        "base": prompt.base._asdict(),
        "classes": [phrase._asdict() for phrase in query.phrases],
        "captions": [part._asdict() for part in query.prompts],
    }
    write_bytes(path, save(tensors, {KEY: json.dumps(content)}))


def load_prompt(path: str | Path) -> TunedPrompt:
    """Read a file of :func:`save_prompt`; anything else is an error that says why."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such tuned prompt; a run with PromptTuning leaves {PROMPT_NAME}")
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {})[KEY])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, this version reads {FORMAT}")
        return TunedPrompt(_query(content, tensors), content["tuning"], read_base(content["base"]))
    except (SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: not a tuned prompt of glip-lightning ({error!r})") from error


def _query(content: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Query:
    prompts, texts = [], []
    for k, part in enumerate(content["captions"]):
        hidden, mask = tensors[f"features.{k}"], tensors[f"mask.{k}"].bool()
        if hidden.ndim != 2 or mask.shape != hidden.shape[:1] or not hidden.isfinite().all():
            raise ValueError(f"features {tuple(hidden.shape)} and mask {tuple(mask.shape)} of caption {k}")
        tokens = tuple(tuple(map(int, group)) for group in part["tokens"])
        if any(not 0 <= token < len(mask) for group in tokens for token in group):
            raise ValueError(f"tokens of caption {k} lie beyond its {len(mask)}")
        prompts.append(Prompt(part["caption"], tokens, tuple(map(int, part["classes"]))))
        texts.append(TextFeatures(hidden[None], mask[None]))
    return Query(tuple(Phrase(**phrase) for phrase in content["classes"]), tuple(prompts), tuple(texts))


def on_device(query: Query, device: torch.device) -> Query:
    texts = tuple(TextFeatures(text.hidden.to(device), text.mask.to(device)) for text in query.texts)
    return query._replace(texts=texts)
