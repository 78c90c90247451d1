"""Pictures in the repository are generated, every one: photos are read where their owners publish
them.
"""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TASK = "python tests/golden/runs_0_1/make.py  # pictures of the generated world"
GENERATED = {
    "docs/held_out.jpg": "python benchmarks/picture_grid.py --detector glip-nano-c"
    " --out docs/held_out.jpg",
    "docs/natural.jpg": "python src/glip_lightning/shapes/natural_pictures.py --sheet"
    " docs/natural.jpg",
    **{f"tests/golden/runs_0_1/photos/{k:05}.jpg": TASK for k in range(2)},
    **{f"tests/golden/runs_0_1/pictures/train/{k:05}.jpg": TASK for k in range(4)},
    **{f"tests/golden/runs_0_1/pictures/valid/{k:05}.jpg": TASK for k in range(2)},
    **{f"tests/golden/runs_0_1/pictures/test/{k:05}.jpg": TASK for k in range(2)},
}
"""Every committed picture, and what makes it."""

ENDINGS = (".svg", ".ico", ".pdf", ".ppm", ".pgm", ".heic", ".avif", ".jxl")
BEGINNINGS = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"RIFF",
    b"BM",
    b"P5\n",
    b"P6\n",
)
"""Of JPEG, PNG, GIF, TIFF, WebP, BMP and netpbm, whatever a file is called."""


def is_picture(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() in ENDINGS or file.read(8).startswith(BEGINNINGS)


def test_all_committed_pictures_are_generated() -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.split("\0")[:-1] if (ROOT / name).is_file()]
    assert {name for name in names if is_picture(ROOT / name)} == set(GENERATED)


def test_what_makes_them_is_there() -> None:
    for command in GENERATED.values():
        assert (ROOT / command.split()[1]).is_file()


@pytest.mark.parametrize("name", ["coins.png", "coins.dat", "coins.svg"])
def test_a_picture_is_known_by_its_content_or_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"<svg/>" if name.endswith("svg") else b"\x89PNG\r\n\x1a\n")
    assert is_picture(tmp_path / name)
    (tmp_path / "text.md").write_text("no picture")
    assert not is_picture(tmp_path / "text.md")
