"""The page in a browser: complete, quiet, no request, light and dark, wide and narrow."""

import io
from pathlib import Path

import pytest
from PIL import Image

from browser import Page
from glip_lightning.experiments.report.write import write_report
from report_sweep import fail, write_sweep


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "browser"
    trials = write_sweep(folder, shots=[0, 1, 10, "all"], seeds=[3, 30], pictures=1)
    place = folder / "trials" / trials[20]["id"]
    (place / "result.json").unlink()
    fail(place)
    write_report(folder)
    return folder / "report.html"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1600, 360])
def test_the_page_as_it_is_seen(tab: Page, page_file: Path, width: int, dark: bool) -> None:
    tab.open(page_file.as_uri(), width, dark)
    assert tab.complaints() == []
    assert tab.requests() == [page_file.as_uri()]
    assert tab.value("document.scripts.length") == 0
    shown = """[...document.querySelectorAll('figure svg')].filter(
        x => x.getBoundingClientRect().width > 200).length"""
    assert tab.value(shown) >= 2 + 13 + 3 + 7 + 3  # means, tasks, differences, classes, cost
    assert tab.value("document.querySelectorAll('figure svg .curve').length") >= (2 * 2 + 13) * 3
    assert tab.value("[...document.images].every(x => x.complete && x.naturalWidth > 100)")
    assert tab.value("document.images.length") == 13
    # wide tables scroll in their own box
    assert tab.value("document.documentElement.scrollWidth") == width
    smallest = """Math.min(...[...document.querySelectorAll('figure svg text')].map(text => {
        const matrix = text.getScreenCTM(), shown = text.getBoundingClientRect().height > 0;
        const scale = Math.hypot(matrix.a, matrix.b);
        return shown ? scale * parseFloat(getComputedStyle(text).fontSize) : 99;
    }))"""
    assert tab.value(smallest) > 9  # pixels
    outside = """[...document.querySelectorAll('figure svg')].filter(svg => {
        const box = svg.getBoundingClientRect();
        return box.width && [...svg.querySelectorAll('text')].some(text => {
            const own = text.getBoundingClientRect();
            return own.left < box.left - 1 || own.right > box.right + 1
                || own.bottom > box.bottom + 2;
        });
    }).map(svg => svg.getAttribute('aria-label'))"""
    assert tab.value(outside) == []
    ground = Image.open(io.BytesIO(tab.picture(height=600))).convert("L").getpixel((2, 2))
    assert isinstance(ground, int | float)
    assert (ground < 60) == dark


def test_the_browser_notices_what_must_not_be(tab: Page, tmp_path: Path) -> None:
    """The checks above can fail: a script, a request and an error are seen."""
    (tmp_path / "bad.html").write_text(
        '<img src="file:///nowhere.png"><script>console.error("no")</script>'
    )
    tab.open((tmp_path / "bad.html").as_uri(), 800)
    assert any("no" in complaint for complaint in tab.complaints())
    assert "file:///nowhere.png" in tab.requests()
