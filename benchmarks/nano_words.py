"""Write words.txt of the shipped nano detectors: the words of the captions in their recipes.

    python benchmarks/nano_words.py           # all of them; pictures are generated on first use
    python benchmarks/nano_words.py --check   # writes nothing; exit code 1 if a file would change

Nothing is trained. A pre-training writes the same file beside its weights. The captions that a
teacher has labelled (recipes/shapes/pretrain/glip-nano.yaml) are replaced by those that it gets.
"""

import argparse
import json
from pathlib import Path

import yaml

from glip_lightning.common.files import write_text
from glip_lightning.config.recipe_checker import RecipeChecker
from glip_lightning.config.recipe_files import recipe_file
from glip_lightning.models.config import variant
from glip_lightning.shapes.image_captions import FILE as CAPTIONS
from glip_lightning.shapes.image_captions import write_image_captions
from glip_lightning.shapes.plugin import WEIGHTS
from glip_lightning.text.phrases import words_of
from glip_lightning.weights.detector_files import WORDS_NAME

NAMES = ("glip-nano-a", "glip-nano-b", "glip-nano-c", "glip-nano")
"""Those that read names, a teacher before its student."""

CAPTIONED, LABELLED = Path("runs/.shapes/captions"), "../labelled.json"
"""The pictures with captions, and what a recipe calls the file with the teacher's boxes."""


def words_of_recipe(name: str, checker: RecipeChecker, known: dict[str, set[str]]) -> set[str]:
    """Return the words that a run of the recipe of ``name`` would write.

    ``known`` has the words of other detectors.
    """
    file = recipe_file(f"shapes/pretrain/{name}")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    sources = content["data"]["init_args"]["sources"]
    labelled = [source for source, given in sources.items() if given["file"] == LABELLED]
    for source in labelled:
        del sources[source]
    recipe = checker.check(file, content)
    model = recipe.recipe["model"]
    words = set(known[model["detector"]]) if model["weights"] == "pretrained" else set()
    recipe.data.prepare_data()
    recipe.data.setup("validate")
    words |= words_of(recipe.data.captions())
    if labelled:
        file = write_image_captions(CAPTIONED) / CAPTIONS
        words |= words_of(
            image["caption"] for image in json.loads(file.read_text(encoding="utf-8"))["images"]
        )
    return words


def main() -> int:
    """Write the files; 1 if one of them would change and is only checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    check_only = parser.parse_args().check
    checker, known, changed = RecipeChecker(), dict[str, set[str]](), 0
    for name in NAMES:
        assert not variant(name).classes
        known[name] = words_of_recipe(name, checker, known)
        file, text = (
            Path(WEIGHTS / name / WORDS_NAME),
            "".join(f"{word}\n" for word in sorted(known[name])),
        )
        same = file.is_file() and file.read_text(encoding="utf-8") == text
        changed += not same
        if not same and not check_only:
            write_text(file, text)
        print(f"{name}: {len(known[name])} words{'' if same else ', changed'}")
    return int(check_only and changed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
