"""Names of others in a terminal, on a page and on a picture: shown, and without effect."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glip_lightning.app.cli import _print_error
from glip_lightning.common.escaping import is_text, json_text, printable, printable_lines
from glip_lightning.common.logs import show_log
from glip_lightning.data.checks.findings import Finding, listing
from glip_lightning.experiments.report.write import plain_text
from glip_lightning.inference.drawing import draw_boxes
from glip_lightning.training.logging.run_names import label_run

EVIL = "a\x1b[31m\x00\x7f\x9b\r\n\t\u202e\u2066\ud800\ufffez"
SHOWN = r"a\x1b[31m\x00\x7f\x9b\r\n\t\u202e\u2066\ud800\ufffez"


def test_all_that_moves_or_hides_is_escaped() -> None:
    assert printable(EVIL) == SHOWN
    assert printable(SHOWN) == SHOWN  # twice is once
    fine = "Größe, 车, שלום, 👍🏽, e\u0301, 100 %"
    assert printable(fine) == fine


def test_lines_of_a_message_stay() -> None:
    assert printable_lines("one\n  two\x1b") == "one\n  two\\x1b"


def test_half_a_character_is_no_text() -> None:
    assert is_text("Größe 👍")
    assert not is_text("cir\ud800cle")


def test_json_of_any_file_name() -> None:
    text = json_text(json.dumps({"Größe": "a\udcff.png"}, ensure_ascii=False))
    assert json.loads(text.encode("utf-8")) == {"Größe": "a\udcff.png"}
    assert "Größe" in text


def test_log_and_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps what reaches the root logger; its workers cannot send half a character
    monkeypatch.setattr(logging.getLogger("glip_lightning"), "propagate", False)
    show_log()
    logging.getLogger("glip_lightning.x").warning("%s", EVIL.replace("\n", ""))
    _print_error(EVIL.replace("\n", ""))
    said = capsys.readouterr().err.splitlines()
    assert said == [f"glip: {SHOWN}".replace("\\n", "")] * 2


def test_findings() -> None:
    assert str(Finding("error", "code", listing([EVIL]), EVIL)) == f"{SHOWN}: {SHOWN}"


def test_page_and_tables() -> None:
    assert "\x1b" not in plain_text(EVIL)
    assert plain_text("a\x1bb") == r"a\\x1bb"  # Markdown reads it as one backslash


def test_labels_of_runs() -> None:
    labels = label_run(
        Path(EVIL), EVIL, "fit", {"task": EVIL, "shots": 1, "tuning": "LoRA"}, "glip-nano"
    )
    assert labels.name == labels.group == labels.tags[0] == SHOWN


def test_pictures_show_what_the_terminal_shows() -> None:
    image = Image.fromarray(np.zeros((200, 400, 3), np.uint8))
    drawn = [draw_boxes(image, [(10, 60, 90, 120)], [name], [0.5]) for name in (EVIL, SHOWN, "az")]
    assert drawn[0].tobytes() == drawn[1].tobytes() != drawn[2].tobytes()
