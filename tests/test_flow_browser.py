"""The page of `unrolled.flow.report` in a browser: it loads, shows its pictures and fits."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import unrolled as ur
from support import normal

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium on PATH (Debian: apt-get install chromium): pages are not looked at",
)

# Around the page: an iframe of the same origin, as wide as a screen may be, and what it measures.
# A window of Chromium itself does not get as narrow as a phone.
HARNESS = """<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,">
<iframe width="{width}" height="900" style="border: 0" srcdoc="{page}"></iframe>
<pre id="measured"></pre>
<script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  const seen = (e) => {{
    const r = e.getBoundingClientRect();
    return [r.left, r.right, r.height];
  }};
  const root = page.documentElement;
  const label = (e) => e && e.textContent.trim();
  document.getElementById("measured").textContent = JSON.stringify({{
    inner: root.clientWidth,
    outer: root.scrollWidth,
    figures: [...page.querySelectorAll("figure > svg")].map(seen),
    drawn: [...page.querySelectorAll("figure > svg")].map(
      (e) => Math.max(...[...e.querySelectorAll("path")].map((p) => p.getBBox().width))),
    names: [...page.querySelectorAll("figure > svg")].map(
      (e) => label(page.getElementById(e.getAttribute("aria-labelledby")))),
    outside: [...page.querySelectorAll("h1, h2, p, li, figcaption, svg text")].filter(
      (e) => e.getBoundingClientRect().right > root.clientWidth + 1).map(label),
    ink: getComputedStyle(page.body).color,
    paper: getComputedStyle(page.body).backgroundColor,
    text: getComputedStyle(page.querySelector("svg text")).fill,
    line: getComputedStyle(page.querySelector("svg path[style*='--blue']")).stroke,
    broken: [...page.images].filter((e) => e.naturalWidth === 0).length,
  }});
}};
</script>
"""


def opened(page: Path, width: int, directory: Path, *options: str) -> dict[str, Any]:
    """What the page looks like so wide. Anything on the console is an error."""
    harness = directory / "harness.html"
    text = html.escape(page.read_text(encoding="utf-8"))
    harness.write_text(HARNESS.format(width=width, page=text), encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--hide-scrollbars", "--enable-logging=stderr",
        f"--user-data-dir={directory / 'profile'}", "--window-size=1400,1000",
        "--timeout=60000", *options, "--dump-dom", harness.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console
    found = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    return measured


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("pages")
    nets = {
        "one": ur.LSTM(3, 6, seed=0),
        # A wide table.
        "several": ur.GRU(3, 4, num_layers=2, bidirectional=True, seed=0),
    }
    for name, net in nets.items():
        x = normal(14, 3, 3)
        y, _ = net(x)
        title = "A long title without end" * 4
        ur.flow.report(net, x, normal(*y.shape), directory / f"{name}.html", title=title)
    return {name: directory / f"{name}.html" for name in nets}


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize(("name", "figures"), [("one", 10), ("several", 32)])
def test_the_page_fits_and_shows_its_pictures(
    pages: dict[str, Path], name: str, figures: int, width: int, tmp_path: Path
) -> None:
    found = opened(pages[name], width, tmp_path)
    assert found["inner"] == width
    assert found["outer"] == width, "nothing to scroll to sideways"
    assert len(found["figures"]) == figures
    for left, right, height in found["figures"]:
        assert 0 <= left < right <= width
        # As wide as half the page, or all of it on a telephone.
        assert right - left > 350
        assert height > 200
    assert all(extent > 100 for extent in found["drawn"])
    assert all(found["names"])
    assert not found["outside"]
    assert found["broken"] == 0


def test_light_and_dark(pages: dict[str, Path], tmp_path: Path) -> None:
    light = opened(pages["one"], 1280, tmp_path)
    dark = opened(pages["one"], 1280, tmp_path, "--blink-settings=preferredColorScheme=0")
    for found, paper_is_light in ((light, True), (dark, False)):
        paper = brightness(found["paper"])
        assert (paper > 0.9) if paper_is_light else (paper < 0.1)
        # Text as WCAG asks of it, lines as it asks of graphics.
        assert contrast(found["ink"], found["paper"]) > 7
        assert contrast(found["text"], found["paper"]) > 7, "a picture's text is the page's"
        assert contrast(found["line"], found["paper"]) > 3
    assert light["line"] != dark["line"]


def brightness(colour: str) -> float:
    """Relative luminance (WCAG 2) of rgb(…)."""
    found = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in found)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((brightness(one), brightness(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_a_wrong_page_is_noticed(tmp_path: Path) -> None:
    """The measuring itself: it sees overflow, and what is said on the console."""
    wide = tmp_path / "wide.html"
    wide.write_text(
        "<!DOCTYPE html><body><p style='width: 900px'>wide</p><img src='data:,'><figure><svg>"
        "<text>a</text><path style='stroke: var(--blue)' d='M0 0'/></svg></figure>"
    )
    found = opened(wide, 400, tmp_path)
    assert found["outer"] > 400
    assert found["outside"] == ["wide"]
    assert found["broken"] == 1
    loud = tmp_path / "loud.html"
    loud.write_text(wide.read_text() + "<script>console.error('loud')</script>")
    with pytest.raises(AssertionError, match="loud"):
        opened(loud, 400, tmp_path)
