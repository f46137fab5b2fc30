"""What a notebook shows, on a page of a real browser: what is where, and which colour it has."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import servers

from parpool import Client
from parpool.client import notebook

image = pytest.importorskip("matplotlib.image")

WIDTH, HEIGHT = 800, 600
THEMES = {"light": ("#ffffff", "#000000"), "dark": ("#111111", "#e0e0e0")}

# The script is the test's own: it notes where the browser has put what is shown.
PAGE = """<!doctype html><meta charset="utf-8">
<style>body {{ margin: 0; background: {back}; color: {text}; font: 14px sans-serif }}</style>
{shown}
<pre id="found" hidden></pre>
<script>
const found = [...document.querySelectorAll("svg, .engine > text, .engine > rect, th, td")].map(each => {{
    const box = each.getBoundingClientRect();
    return [each.tagName, each.classList.value, each.textContent, box.left, box.top, box.width, box.height];
}});
document.getElementById("found").textContent = JSON.stringify(found);
</script>"""


def browse(folder: Path, page: Path, *options: str) -> str:
    """Open a page in Chromium; gives what it prints. It ends with all that it has started."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += ["--disable-dev-shm-usage", f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}"]
    command += [*options, page.as_uri()]
    # Of the machine's session it needs nothing, and its files belong into the folder.
    environment = {**os.environ, "HOME": str(folder), "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=50)[0]
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5))


def nap(seconds: float) -> None:
    if seconds < 0:
        raise ValueError(seconds)
    time.sleep(seconds)


@pytest.mark.parametrize("theme", THEMES)
def test_bars_and_words_are_seen_where_they_belong(rc: Client, tmp_path: Path, theme: str) -> None:
    servers.need("chromium")
    result = rc.load_balanced_view().map_async(nap, [0.05, 0.06, 0.04, 0.05, -1], chunksize=1)
    result.wait(20)
    back, text = THEMES[theme]
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(back=back, text=text, shown=result._repr_html_() + rc._repr_html_()), "utf-8")

    dom = browse(tmp_path, page, "--dump-dom", f"--screenshot={tmp_path}/page.png")
    found = json.loads(html.unescape(re.findall(r'<pre id="found"[^>]*>(.*?)</pre>', dom, re.S)[0]))
    pixels: Any = (image.imread(tmp_path / "page.png")[:, :, :3] * 255).round().astype(int)
    assert pixels.shape == (HEIGHT, WIDTH, 3)

    # The rows, one below the other, each with its name at its left, and its bars within.
    names = [each for each in found if each[0] == "text"]
    grounds = [each for each in found if each[0] == "rect" and not each[1]]
    bars = [each for each in found if each[1] == "task"]
    assert [each[2] for each in names] == ["engine 0", "engine 1"] and len(grounds) == 2 and len(bars) == 5
    for name, ground in zip(names, grounds, strict=True):
        assert name[3] + name[5] <= ground[3] and ground[4] <= name[4] + name[6] / 2 <= ground[4] + ground[6]
        assert _most_unlike(pixels, name, rgb(back)) > 250, "the name stands out"
    assert grounds[0][4] + grounds[0][6] <= grounds[1][4]
    ran: list[int] = [0, 0]
    for _, _, title, left, top, width, height in bars:
        (row,) = [n for n, ground in enumerate(grounds) if ground[4] <= top and top + height <= ground[4] + ground[6]]
        assert title.startswith(f"engine {row}: ")
        ran[row] += 1
        colour = pixels[int(top + height / 2), int(left + width / 2)]
        wanted = rgb(notebook.COLOURS["error" if ", error," in title else "ok"])
        # A bar of two pixels may share both with the ground.
        assert width < 4 or abs(colour - wanted).max() <= 2
    assert ran == [sum(line["engine_id"] == id for line in result.timeline) for id in (0, 1)]
    # Between the bars is the ground, which differs a little from the page; beside it is the page.
    top, right = grounds[0][4], grounds[0][3] + grounds[0][5]
    assert (pixels[int(top + 1), int(right + 4)] == rgb(back)).all()
    assert 5 < abs(pixels[int(top + 1), int(grounds[0][3] + 1)] - rgb(back)).max() < 60

    cells = [each for each in found if each[0] in ("TH", "TD")]
    assert [each[2] for each in cells[:3]] == ["engine", "machine", "name"] and len(cells) == 3 * 7
    for cell in cells:
        assert _most_unlike(pixels, cell, rgb(back)) > 250


def _most_unlike(pixels: Any, box: list[Any], colour: tuple[int, ...]) -> int:
    """The largest difference of a pixel within a box from a colour."""
    left, top, width, height = (int(each) for each in box[3:])
    part = pixels[top : top + height + 1, left : left + width + 1]
    return int(abs(part - colour).sum(axis=2).max())
