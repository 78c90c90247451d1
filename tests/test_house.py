"""The direction of imports: each floor of the package may know the floors below it, and nobody above."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "glip_lightning"
FLOORS = (
    # ground: pure functions and value types
    [
        *("boxes", "anchors", "prompts", "noun_phrases", "outputs", "errors", "escaping", "files", "locks", "versions"),
        *("trial", "labels", "logs", "schema", "tensor_files", "resources", "signals", "ranks"),
    ],
    # first floor: rooms that do not know each other
    ("text", "models", "assign", "losses", "postprocess", "data", "evaluation", "drawing"),
    # second floor: what we do with a model
    [
        *("hub_files", "base_model", "adapter", "pretrained", "query", "tuned_prompt", "predictor", "tuning"),
        *("features", "feature_store", "pseudo_label", "conversion"),
    ],
    # third floor: Lightning
    [
        *("module", "datamodules", "schedules", "batching", "callbacks", "selection", "divergence", "ema"),
        *("resume", "estimate", "pictures", "loggers", "wandb_run", "result", "retention", "probing", "alignment"),
        "checkpoint_files",
    ],
    # roof: programs
    (
        "messages",
        "recipe",
        "continuing",
        "predict",
        "label_images",
        "doctor",
        "environment",
        "dashboard",
        "sweep",
        "report",
        "cli",
    ),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SAME_FLOOR = {  # who may know whom on one floor
    "files": {"errors", "escaping"},
    "locks": {"errors"},
    "logs": {"escaping"},
    "resources": {"files"},
    "schema": {"errors"},
    "tensor_files": {"errors"},
    "trial": {"files", "schema"},
    "labels": {"escaping", "trial"},
    "prompts": {"errors", "files", "schema"},
    "noun_phrases": {"prompts"},
    "losses": {"assign"},
    "adapter": {"base_model"},
    "pretrained": {"adapter", "base_model", "hub_files", "tuned_prompt"},
    "tuned_prompt": {"base_model", "query"},
    "predictor": {"base_model", "pretrained", "query", "tuned_prompt"},
    "tuning": {"adapter", "base_model", "tuned_prompt"},
    "features": {"feature_store", "tuning"},
    "conversion": {"pretrained"},
    "pseudo_label": {"base_model", "predictor", "pretrained"},
    "datamodules": {"batching"},
    "module": {"datamodules", "schedules"},
    "resume": {"checkpoint_files", "selection"},
    "estimate": {"datamodules", "ema", "module", "resume", "selection"},
    "loggers": {"module", "pictures", "wandb_run"},
    "wandb_run": {"pictures"},
    "result": {"module", "datamodules"},
    "probing": {"module"},
    "alignment": {"module", "probing"},
    "retention": {"module", "datamodules", "probing"},
    "callbacks": {"datamodules", "module", "loggers", "wandb_run", "pictures", "result", "resume", "retention"},
    "continuing": {"messages"},
    "recipe": {"continuing", "messages"},
    "sweep": {"messages", "recipe"},
    "cli": {"messages", "recipe", "predict", "label_images", "doctor", "environment", "dashboard", "report", "sweep"},
}
LIGHTNING = {"module", "datamodules", "callbacks", "selection", "divergence", "ema", "batching", "resume", "estimate"}
LIGHTNING |= {"checkpoint_files"}
ONLY_IN = {
    "lightning": {*LIGHTNING, "loggers", "wandb_run", "result", "retention", "probing", "alignment", "recipe", "cli"},
    "wandb": {"wandb_run", "dashboard"},
    "wandb_workspaces": {"dashboard"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> tuple[set[str], set[str]]:
    """Rooms of ours and packages of others that a file imports, also inside functions."""
    ours, others = set(), set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")
            if node.level == 0 and module[0] != "glip_lightning":
                others.add(module[0])
            elif node.level == 0 or node.level == depth:  # from the top of the package
                below = module[1:] if node.level == 0 else module
                ours |= {below[0]} if below and below[0] else {alias.name for alias in node.names}
    return ours & FLOOR_OF.keys(), others


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    ours, others = imports(path)
    for other in ours - {room}:
        allowed = FLOOR_OF[other] < FLOOR_OF[room] or other in SAME_FLOOR.get(room, set())
        assert allowed, f"{room} imports {other}"
    for package, rooms in ONLY_IN.items():
        assert package not in others or room in rooms, f"{room} imports {package}"


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in FILES} - {"__init__"} == FLOOR_OF.keys()


def test_files_stay_short() -> None:
    assert {path.name: n for path in FILES if (n := len(path.read_text().splitlines())) > 500} == {}


@pytest.mark.parametrize("module", ["glip_lightning", "glip_lightning.app.cli"])
def test_help_needs_neither_torch_nor_lightning(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'lightning', 'transformers') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_lightning_below_the_third_floor() -> None:
    rooms = "predictor, glip_lightning.evaluation.coco_ap, glip_lightning.data.collate, glip_lightning.data.formats.coco_json"
    code = f"import sys, glip_lightning.{rooms}; print('lightning' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_no_registry_and_no_lock_file_in_the_repository() -> None:
    """Whoever installs chooses where from; constraints are plain ``name==version`` lines."""
    root = PACKAGE.parent.parent
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    hosts = ["py" + "pi.org", "python" + "hosted.org", "registry." + "npmjs", "download.py" + "torch.org"]
    for name in listed.stdout.split("\0")[:-1]:
        content = (root / name).read_bytes()
        assert not any(host.encode() in content for host in hosts), name
        assert not name.endswith((".lock", "pylock.toml")), name
    lines = (root / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+( ; .+)?", line) for line in lines)
