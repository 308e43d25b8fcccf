"""The report and TensorBoard on a real sweep, in a real browser: Debian's Chromium, wherever it is installed.

The screenshots are kept in the tests' temporary folder.
"""

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from forked import run_forked
from PIL import Image
from playwright.sync_api import Page, expect

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def sweep(tmp_path_factory) -> Path:
    """The folder of a sweep over two depths and two kernels, and of two jobs that fail; made by the first who asks."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "browser"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "sweep").exists():
            run_sweep(folder)
    return folder / "sweep"


def run_sweep(folder: Path) -> None:
    Image.effect_mandelbrot((40, 32), (-2, -1.2, 1, 1.2), 60).convert("RGB").save(folder / "picture.png")
    mask = Image.new("L", (40, 32), "white")
    mask.paste(0, (20, 8, 30, 16))
    mask.save(folder / "mask.png")
    data = ["data.image=picture.png", "data.mask=mask.png", "data.truth=picture.png"]
    tiny = ["model.widths=[4,6]", "trainer.max_steps=20", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    tiny.append("refine.rounds=2")
    swept = ["model.depth=1,2,9", "model.decoder_kernel=3,5"]
    command = ["-m", *data, *tiny, *swept, "hydra.sweep.dir=sweep"]
    result = run_forked(REPOSITORY / "train.py", *command, cwd=folder)
    assert result.returncode == 2, result.stderr
    assert result.stderr.splitlines()[-1].startswith("report of 4 runs with results and 2 without: ")


@pytest.fixture(scope="session")
def single(sweep) -> Path:
    """The folder of a single run with a report of its own."""
    run = sweep / "model.decoder_kernel=3,model.depth=1"
    result = run_forked(REPOSITORY / "scripts" / "report.py", run, cwd=run)
    assert result.returncode == 0, result.stderr
    return run


def column(page: Page, name: str) -> list[str]:
    heads = page.locator("th").all_inner_texts()
    place = next(number for number, head in enumerate(heads) if head.split()[0] == name)
    return [row.locator("td").nth(place).inner_text() for row in page.locator("tbody tr").all()]


def test_the_table_of_a_sweep_sorts_by_mouse_and_by_keyboard(sweep, visit):
    page = visit((sweep / "report.html").as_uri())
    assert len(column(page, "run")) == 6
    page.get_by_role("button", name="psnr_hole", exact=False).first.click()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("psnr_hole")
    sorted_by_mouse = column(page, "psnr_hole")
    assert sorted_by_mouse[:4] == sorted(sorted_by_mouse[:4], key=float)
    assert sorted_by_mouse[4:] == ["-", "-"]  # what has no result stays at the end
    page.keyboard.press("Enter")  # the button has the focus
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("psnr_hole")
    assert column(page, "psnr_hole") == [*reversed(sorted_by_mouse[:4]), "-", "-"]
    assert page.locator("th[aria-sort=none]").count() == page.locator("th").count() - 1
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("state")
    assert [state[:31] for state in column(page, "state")] == 4 * ["max_steps"] + 2 * [
        "no result: a picture of 40x32 i"
    ]


def test_a_sweep_is_seen_as_pictures_and_curves(sweep, visit):
    page = visit((sweep / "report.html").as_uri())
    assert [head.text_content() for head in page.locator("h3").all()] == [
        "model.depth",
        "model.decoder_kernel",
        "picture",
    ]
    captions = page.locator("figcaption").all_inner_texts()
    assert captions[:2] == ["damaged", "ground truth"]
    assert captions[2].startswith("biharmonic (baseline): ")
    assert len(captions) == 7
    check_pictures(page)
    for plot in page.locator(".plots svg").all():
        assert plot.locator("path").count() > 10
        assert plot.bounding_box()["height"] > 100
    assert page.locator(".plots svg").count() == 4
    expect(page.locator("tr.best")).to_have_count(1)


def check_pictures(page: Page) -> None:
    assert all(page.evaluate("[...document.images].map((picture) => picture.naturalWidth > 0)"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_shows_it_without_scrolling_aside(sweep, single, visit, scheme):
    for report in (sweep / "report.html", single / "report.html"):
        page = visit(report.as_uri(), width=400, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        # The text of page and plots stands out from the paper.
        paper = lightness(page, "body", "backgroundColor")
        inks = [lightness(page, "body", "color"), lightness(page, ".plots svg text", "fill")]
        assert all(abs(ink - paper) > 150 for ink in inks)
        assert (paper < 128) == (scheme == "dark")


def lightness(page: Page, selector: str, key: str) -> float:
    colour = page.evaluate("([place, key]) => getComputedStyle(document.querySelector(place))[key]", [selector, key])
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_the_slider_of_a_single_run_moves_by_keyboard_and_by_mouse(single, visit):
    page = visit((single / "report.html").as_uri())
    shown = "getComputedStyle(document.querySelector('.after')).clipPath"
    assert page.evaluate(shown) == "inset(0px 0px 0px 50%)"
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(shown) == "inset(0px 0px 0px 51%)"
    page.keyboard.press("End")
    assert page.evaluate(shown) == "inset(0px 0px 0px 100%)"
    box = page.locator(".slider").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert 20 <= int(page.get_by_role("slider").input_value()) <= 30
    check_pictures(page)
    assert page.locator("img[src^='data:image/gif']").count() == 1
    page.get_by_text("Settings").click()
    expect(page.get_by_text("model.depth: 1")).to_be_visible()


@pytest.fixture(scope="session")
def tensorboard(sweep) -> Iterator[str]:
    """The address of TensorBoard on the sweep."""
    command = [Path(sys.executable).with_name("tensorboard"), "--logdir", sweep, "--port", "0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        found = (re.search(r"http://\S+", line) for line in process.stderr if " at http" in line)
        yield next(address.group() for address in found if address)
        process.terminate()
        process.stderr.read()


@pytest.mark.parametrize(
    ("tab", "shown"),
    [
        ("scalars", "psnr_hole"),
        ("custom_scalars", "PSNR and loss"),
        ("hparams", "model.decoder_kernel"),
        ("text", "decoder_kernel: 3"),
    ],
)
def test_tensorboard_shows_the_sweep(tensorboard, visit, tab, shown):
    page = visit(f"{tensorboard}#{tab}")
    expect(page.get_by_text(shown).first).to_be_visible(timeout=60_000)
    if tab.endswith("scalars"):
        expect(page.locator("svg .line, svg path.line").first).to_be_attached(timeout=60_000)
    if tab == "hparams":  # the keys that were swept, and no others
        keys = page.locator("tf-hparams-query-pane .hparam-checkbox")
        assert sorted(keys.all_inner_texts()) == ["model.decoder_kernel", "model.depth"]


def test_the_animation_plays_in_tensorboard(tensorboard, visit):
    page = visit(f"{tensorboard}#images")
    animation = page.locator("tf-image-loader:has-text('animation') img").first
    expect(animation).to_be_visible(timeout=60_000)
    answer = page.request.get(animation.evaluate("(picture) => picture.src"))
    assert answer.headers["content-type"] == "image/gif"
    with Image.open(BytesIO(answer.body())) as gif:
        assert gif.n_frames > 5
    assert animation.evaluate("(picture) => picture.naturalWidth") == 40
