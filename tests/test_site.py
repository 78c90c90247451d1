"""The site: it is built without a warning, holds the whole public API and all options, and asks no
other host.
"""

import functools
import http.server
import re
import threading
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

import glip_lightning
from browser import Page
from documents import DOCS, ROOT, generated_pages
from glip_lightning.app.cli import TRAINING, VERBS
from glip_lightning.data.checks.problems import PROBLEMS

KINDS = (  # of pages: text and code, tables, wide tables, docstrings, help, pictures
    *("index.html", "trouble/ap_is_zero.html", "trouble/other_words.html", "reference/data.html"),
    *("reference/training_options.html", "results/generated_world.html"),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a warning is an error."""
    pytest.importorskip("material", reason="the extra docs is not installed")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    assert config.strict
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where a server on this machine shows the site."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


class _Loaded(HTMLParser):
    """Collects the addresses of what a page loads: scripts, styles, pictures, frames; not those of
    its links.
    """

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the address of a tag that makes a browser load something."""
        names = {"src", "srcset", "data", "poster", *(("href",) if tag == "link" else ())}
        self.addresses += [value for name, value in attrs if name in names and value]


def test_every_page_is_there(site: Path) -> None:
    expected = [
        *(page.relative_to(DOCS) for page in DOCS.rglob("*.md")),
        *map(Path, generated_pages().PAGES),
    ]
    assert {page.with_suffix(".html") for page in expected} | {Path("404.html")} == {
        page.relative_to(site) for page in site.rglob("*.html")
    }
    assert not list(site.rglob("*.py"))


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        reader = _Loaded()
        reader.feed(page.read_text(encoding="utf-8"))
        assert len(reader.addresses) > 3
        assert [each for each in reader.addresses if re.match(r"(https?:)?//", each)] == [], page


def test_the_reference_has_each_public_name_once(site: Path) -> None:
    named = Counter(
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(
            r"^::: glip_lightning\.(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    assert named == Counter(name for name in glip_lightning.__all__ if name != "__version__")
    texts = {
        page.stem: page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html")
    }
    texts.pop("training_options")  # what Lightning says of its trainer
    shown = "".join(texts.values())
    assert [name for name in named if f'id="glip_lightning.{name}"' not in shown] == []
    assert not re.search(r":(?:class|func|mod|meth):", shown)  # roles of docstrings


def test_the_reference_has_each_verb_and_option(site: Path) -> None:
    shown = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    for verb, command in VERBS.items():
        assert f">{verb}</code>" in shown
        if verb not in TRAINING:
            _, _, section = shown.partition(f'id="glip-{verb}"')
            section = section.partition("<h2")[0]
            assert [
                each.opts[0]
                for each in command.params
                if each.opts[0] not in section and each.opts[0][0] == "-"
            ] == []
    training = (site / "reference" / "training_options.html").read_text(encoding="utf-8")
    for option in (
        "--run RUN",
        "--resume RUN",
        "--model.tuning TUNING",
        "--trainer.max_epochs",
        "--data CONFIG",
    ):
        assert option in training, option


def test_the_reference_has_each_finding_with_its_text(site: Path) -> None:
    shown = (site / "reference" / "findings.html").read_text(encoding="utf-8")
    assert [code for code in PROBLEMS if f">{code}</code>" not in shown] == []
    assert PROBLEMS["no-data-set"].text in shown.replace("&#123;", "{")


def test_pictures_of_photos_are_shown_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of data sets, else the coins, else none: the repository has no photos."""
    pages = generated_pages()
    page = SimpleNamespace(file=SimpleNamespace(src_uri=pages.PHOTOS))
    monkeypatch.setattr(pages, "OWN_PICTURES", tmp_path / "pictures")
    monkeypatch.setattr(pages, "COINS", tmp_path / "before_after.jpg")
    text = "Seen:\n\n<!-- pictures -->\n"
    assert pages.on_page_markdown(text, page).split() == ["Seen:"]
    pages.COINS.write_bytes(b"")
    shown = pages.on_page_markdown(text, page)
    assert re.findall(r"!\[[^\]]+\]\((.*?)\)", shown) == ["before_after.jpg"]
    pages.OWN_PICTURES.mkdir()
    for name in ("Raccoon", "BCCD"):
        (pages.OWN_PICTURES / f"{name}.jpg").write_bytes(b"")
    shown = pages.on_page_markdown(text, page)
    assert re.findall(r"!\[[^\]]+\]\((.*?)\)", shown) == ["BCCD.jpg", "Raccoon.jpg"]
    other = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    assert pages.on_page_markdown(text, other) == text
    assert "<!-- pictures -->" in (DOCS / pages.PHOTOS).read_text(encoding="utf-8")


def check_page(tab: Page, address: str, page: str, width: int, dark: bool) -> None:
    """Look at a page: it is quiet, asks nobody else, fits its width, and is as light or dark as the
    system.
    """
    tab.open(address + page, width, dark)
    where = f"{page} at {width} pixels, {'dark' if dark else 'light'}"
    assert tab.complaints() == [], where
    assert [request for request in tab.requests() if not request.startswith(address)] == [], where
    assert tab.value("document.documentElement.scrollWidth") == width, where
    assert tab.value("document.body.dataset.mdColorScheme") == ("slate" if dark else "default"), (
        where
    )
    assert tab.value("[...document.images].every(x => x.complete && x.naturalWidth > 100)"), where


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1600, 360])
@pytest.mark.parametrize("page", KINDS)
def test_pages_as_they_are_seen(tab: Page, address: str, page: str, width: int, dark: bool) -> None:
    check_page(tab, address, page, width, dark)


@pytest.mark.slow
def test_all_pages_as_they_are_seen(tab: Page, site: Path, address: str) -> None:
    for file in sorted(site.rglob("*.html")):
        for width in (1600, 360):
            for dark in (False, True):
                check_page(tab, address, file.relative_to(site).as_posix(), width, dark)


def test_the_search_finds_a_page(tab: Page, address: str) -> None:
    tab.open(f"{address}index.html", 1600)
    type_in = """(async () => {
        const box = document.querySelector('[data-md-component="search-query"]');
        box.focus();
        box.value = 'wise_ft';
        box.dispatchEvent(new Event('input', {bubbles: true}));
        box.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}));
        for (let tries = 0; tries < 100; tries++) {
            const found = document.querySelectorAll('.md-search-result__link');
            if (found.length) return [...found].map(x => x.getAttribute('href')).join(' ');
            await new Promise(done => setTimeout(done, 50));
        }
        return '';
    })()"""
    answer = tab.call("Runtime.evaluate", expression=type_in, returnByValue=True, awaitPromise=True)
    assert "forgot" in answer["result"]["value"]
