"""The page: complete, quiet, no request, light and dark, wide and narrow.

Its text is checked everywhere, what it looks like where there is a browser.
"""

import io
import re
from collections import Counter
from html.parser import HTMLParser
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


class Elements(HTMLParser):
    """Tags with their attributes, and the text of style sheets."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.styles = ""
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._tag == "style":
            self.styles += data


def ids_of(page: Elements) -> Counter[str]:
    """How often each id is given."""
    return Counter(attrs["id"] for _, attrs in page.found if "id" in attrs)


def references_of(page: Elements) -> set[str]:
    """The ids that links, pictures and style sheets refer to."""
    values = " ".join(value for _, attrs in page.found for value in attrs.values())
    found = set(re.findall(r"url\(['\"]?#([^)'\"]+)", values + page.styles))
    for _, attrs in page.found:
        links = [attrs.get(name, "") for name in ("href", "xlink:href")]
        found |= {link[1:] for link in links if link.startswith("#")}
        for name in ("aria-labelledby", "aria-describedby", "for"):
            found |= set(attrs.get(name, "").split())
    return found


def outside_of(page: Elements) -> list[str]:
    """What would run a script or load something from elsewhere."""
    found = [tag for tag, _ in page.found if tag in ("script", "iframe", "object", "embed", "base")]
    for tag, attrs in page.found:
        found += [name for name in attrs if name.startswith("on")]
        loaded = [attrs.get(name, "") for name in ("src", "srcset", "xlink:href", "data")]
        if tag != "a":
            loaded.append(attrs.get("href", ""))
        found += [link for link in loaded if link and not link.startswith(("data:", "#"))]
        found += re.findall(r"url\(['\"]?[^#)'\"][^)]*", attrs.get("style", ""))
    return found + re.findall(r"@import[^;]*|url\(['\"]?[^#)'\"][^)]*", page.styles)


def test_the_text_of_the_page_runs_and_loads_nothing(page_file: Path) -> None:
    page = Elements(page_file.read_text(encoding="utf-8"))
    ids = ids_of(page)
    assert len(ids) > 100
    assert [name for name, count in ids.items() if count > 1] == []
    assert references_of(page) - set(ids) == set()
    assert outside_of(page) == []
    policies = [attrs["content"] for tag, attrs in page.found if "http-equiv" in attrs]
    assert [policy.split(";")[0] for policy in policies] == ["default-src 'none'"]


def test_the_colours_of_charts_are_variables_of_both_themes(page_file: Path) -> None:
    page = Elements(page_file.read_text(encoding="utf-8"))
    svg = {"path", "use", "text", "rect", "line", "circle", "g", "polygon", "ellipse"}
    drawn = [attrs for tag, attrs in page.found if tag in svg]
    painted = " ".join(" ".join(attrs.values()) for attrs in drawn)
    assert len(re.findall(r"var\(--[\w-]+\)", painted)) > 100
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b|rgb\([^)]*\)", painted)) == set()
    light, _, rest = page.styles.partition("prefers-color-scheme")
    dark = rest.partition("}")[0]
    of_charts = set(re.findall(r"var\((--[\w-]+)\)", painted))
    assert of_charts - set(re.findall(r"(--[\w-]+):", light)) == set()
    assert of_charts - set(re.findall(r"(--[\w-]+):", dark)) == set()
    of_page = set(re.findall(r"var\((--[\w-]+)\)", page.styles))
    assert of_page - set(re.findall(r"(--[\w-]+):", page.styles)) == set()


def test_the_checks_of_the_text_can_fail() -> None:
    page = Elements(
        '<p id="a"><p id="a"><a href="#b"></a><img src="http://x/y.png" onload="z()">'
        "<script>1</script><style>p { background: url(http://x/z.png) }</style>"
    )
    assert ids_of(page) == {"a": 2}
    assert references_of(page) == {"b"}
    assert outside_of(page) == ["script", "onload", "http://x/y.png", "url(http://x/z.png"]


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
