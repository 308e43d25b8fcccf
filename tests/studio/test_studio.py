"""The studio in a real browser: from a photograph that is given to it to the repaired one that it gives back.

The screenshots are kept in the tests' temporary folder.
"""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from forked import run_forked
from PIL import Image
from playwright.sync_api import Page, expect

REPOSITORY = Path(__file__).parents[2]
SECONDS = 60_000  # milliseconds, for what takes an import of everything
TINY = "model.widths=[4,6] trainer.accelerator=cpu trainer.precision=32-true refine.rounds=2 hole_kind=thin"
# The name of the button or box that has the focus.
FOCUSED = "(at => at.matches('button') ? at.innerText : at.labels?.[0]?.innerText)(document.activeElement)"


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))


@pytest.fixture(scope="session")
def studio(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The address of a studio that serves, and the folder where it does."""
    folder = tmp_path_factory.mktemp("studio")
    script = REPOSITORY / "scripts" / "studio.py"
    command = [sys.executable, "-W", "ignore", script, "--no-browser"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        yield address, folder
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "my photo.jpg"
    Image.effect_mandelbrot((96, 72), (-2, -1.2, 1, 1.2), 60).convert("RGB").save(path, quality=92, dpi=(300, 300))
    return path


@pytest.fixture
def opened(studio, visit, photo):
    """opened(width=1280): a page of the studio with the photograph in it."""
    outside = []

    def page_of(width=1280, scheme="light"):
        page = visit(studio[0], width, scheme)
        page.on("request", lambda request: outside.append(request.url))
        page.locator("input[type=file]").first.set_input_files(photo)
        expect(page.locator("#status")).to_contain_text("my photo.jpg", timeout=SECONDS)
        return page

    yield page_of
    assert [url for url in outside if not url.startswith((studio[0], "data:", "blob:"))] == []


def paint(page: Page) -> None:
    """A stroke through the middle of the photograph."""
    page.wait_for_timeout(2000)  # the canvas takes its size
    page.locator("canvas").first.scroll_into_view_if_needed()
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.4, middle)
    page.mouse.down()
    for step in range(8):
        page.mouse.move(box["x"] + box["width"] * (0.4 + 0.02 * step), middle)
    page.mouse.up()
    page.wait_for_timeout(1000)


def press(page: Page, name: str) -> None:
    """No sooner than a person does: Gradio may lose what is pressed while its stream of events ends."""
    page.wait_for_timeout(1000)
    page.get_by_role("button", name=name, exact=True).click()


def marked(page: Page) -> np.ndarray:
    """The hole, from the mask that the page saves."""
    if not page.get_by_role("button", name="Save what is marked").is_visible():
        page.get_by_text("Mask file").click()
    press(page, "Save what is marked")
    page.wait_for_timeout(2500)
    expect(page.locator("a[href*='mask.png']")).to_be_visible(timeout=SECONDS)
    link = page.locator("a[href*='mask.png']").get_attribute("href")
    with Image.open(BytesIO(page.request.get(str(link)).body())) as mask:
        return np.array(mask) == 0


def begin(page: Page, options: str) -> None:
    page.get_by_text("More options").click()
    page.get_by_label("All others, as on the command line").fill(options)
    page.get_by_role("button", name="Repair", exact=True).click()


def wait_for(page: Page, said: str) -> None:
    expect(page.locator("#status")).to_contain_text(re.compile(said), timeout=SECONDS)


def test_from_a_photograph_to_a_repaired_one_and_the_command_that_gives_the_same(studio, opened, photo, tmp_path):
    page = opened()
    paint(page)
    begin(page, f"{TINY} trainer.max_steps=20")
    wait_for(page, "Done after")
    expect(page.get_by_text("Before | after")).to_be_visible()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download", exact=True).click()
    file = tmp_path / "download.jpg"
    downloading.value.save_as(file)
    assert downloading.value.suggested_filename == "my photo_repaired.jpg"
    (own,) = (studio[1] / "outputs" / "studio").glob("*/my photo.jpg")
    hole = pixels(own.parent / "mask.png")[..., 0] == 0
    assert 20 < hole.sum() < 2000
    assert hole[36, 40:50].any()
    assert not hole[:10].any()
    # The result is decoded from a JPEG file, and so are the known pixels of the lossless one.
    lossless = pixels(own.parent / "run" / "inpainted.png")
    assert (lossless[~hole] == pixels(photo)[~hole]).all()
    assert (lossless[hole] != pixels(photo)[hole]).any()
    with Image.open(file) as repaired:
        assert (repaired.format, repaired.info["dpi"]) == ("JPEG", (300, 300))
    command = page.locator("#command textarea").input_value()
    python, program, *arguments = shlex.split(command)
    assert python == "python"
    assert run_forked(Path(program), *arguments, cwd=studio[1]).returncode == 0
    assert (studio[1] / "my photo_repaired.jpg").read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_a_repair_stops_with_a_result_and_continues_in_another_tab(studio, opened, visit):
    page = opened(width=400, scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    expect(page.get_by_role("button", name="Repair", exact=True)).to_be_in_viewport()  # although the page is long
    paint(page)
    begin(page, f"{TINY} trainer.max_steps=1000 stopping=none")
    wait_for(page, r"Drawing: step \d+ of 1000")
    tab = visit(studio[0])  # a page that is opened shows the repair at work
    wait_for(tab, r"Drawing: step \d+ of 1000")
    tab.get_by_role("button", name="Stop").click()
    wait_for(tab, r"Stopped after \d+ steps")
    expect(tab.get_by_text("Continue it on the command line")).to_be_visible()
    tab.get_by_role("button", name="Continue").click()
    wait_for(tab, "Done after")
    wait_for(page, "Done after")


@pytest.mark.slow
def test_what_is_refused_is_said_in_one_line(opened, tmp_path):
    page = opened()
    page.get_by_role("button", name="Repair", exact=True).click()
    expect(page.get_by_text("nothing is marked yet; paint over what should go")).to_be_visible()
    paint(page)
    begin(page, "data.image=/etc/hostname")
    expect(page.get_by_text("data.image=/etc/hostname is not for this page")).to_be_visible()
    page.get_by_label("All others, as on the command line").fill("model.depth=deep")
    page.get_by_role("button", name="Repair", exact=True).click()
    expect(page.get_by_text("model.depth=deep, but it must be a whole number")).to_be_visible()
    (tmp_path / "notes.png").write_text("no picture")
    page.get_by_role("button", name="Clear").first.click()
    page.locator("input[type=file]").first.set_input_files(tmp_path / "notes.png")
    expect(page.get_by_text("is not a picture that can be read")).to_be_visible(timeout=SECONDS)


@pytest.mark.slow
def test_a_result_is_made_from_the_keyboard_alone_and_picked_from_two(opened, photo, tmp_path):
    page = opened()
    keys = page.keyboard

    def tab_to(named):
        """Tab until the button or box of this name has the focus."""
        for _ in range(60):
            keys.press("Tab")
            if (page.evaluate(FOCUSED) or "").startswith(named):
                return
        pytest.fail(f"Tab does not come to {named}")

    tab_to("Draw a rectangle")
    keys.press("Enter")
    for side, pixel in (("Left", 30), ("Top", 20), ("Right", 44), ("Bottom", 33)):
        tab_to(side)
        keys.type(str(pixel))
    tab_to("Add this rectangle")
    keys.press("Enter")
    page.get_by_text("More options").click()
    page.get_by_label("Results to pick from").first.fill("2")
    page.get_by_label("trainer.max_steps").fill("4")
    page.get_by_label("All others, as on the command line").fill(TINY)
    page.get_by_role("button", name="Repair", exact=True).focus()
    keys.press("Enter")
    wait_for(page, "Done after")
    page.get_by_label("Thumbnail 1 of").click()
    page.get_by_text("Report and all files of the run").click()
    expect(page.locator("a[href*='report.html']")).to_be_visible(timeout=SECONDS)


def test_damage_is_found_and_counts_once_it_is_added(opened):
    page = opened()
    expect(page.get_by_label("Undo", exact=True).first).to_be_disabled()  # else it takes the photograph away
    page.get_by_text("Find the damage").click()
    press(page, "Find this colour")
    expect(page.get_by_role("button", name="Add what is new")).to_be_visible(timeout=SECONDS)
    press(page, "Repair")
    expect(page.get_by_text("what is cyan is not part of the hole yet")).to_be_visible(timeout=SECONDS / 3)
    press(page, "Add what is new")
    expect(page.get_by_role("button", name="Add what is new")).to_be_hidden(timeout=SECONDS)
    assert marked(page).any()  # although the canvas has hardly taken what was added


@pytest.mark.slow
def test_two_clicks_are_the_corners_of_a_rectangle_of_which_some_is_erased(opened):
    page = opened()
    page.get_by_text("Draw a rectangle").click()
    picture = page.locator("#clickable img")
    for x, y in ((70, 60), (20, 30)):
        picture.click(position={"x": x, "y": y})
        page.wait_for_timeout(500)
    hole = marked(page)
    sides = [int(page.get_by_label(side).input_value()) for side in ("Left", "Top", "Right", "Bottom")]
    assert sides == pytest.approx([20, 30, 70, 60], abs=1)
    left, top, right, bottom = sides
    assert hole[top : bottom + 1, left : right + 1].all()
    assert hole.sum() == (right + 1 - left) * (bottom + 1 - top)
    page.get_by_label("Erase").first.click()
    paint(page)
    less = marked(page)
    assert 0 < less.sum() < hole.sum()
    assert not (less & ~hole).any()


def test_a_page_that_nobody_touches_asks_for_few_frames(studio, visit):
    page = visit(studio[0])
    html = page.request.get(studio[0]).text()
    assert html.index("requestAnimationFrame") < html.index("</script>")  # before a script keeps the browser's own
    page.wait_for_timeout(6000)
    frames = page.evaluate("""new Promise(done => {
        let frames = 0
        const count = () => { frames++; requestAnimationFrame(count) }
        count()
        setTimeout(() => done(frames), 2000)
    })""")
    assert 2 <= frames <= 6


@pytest.mark.parametrize("path", ["pyproject.toml", "/etc/hostname"])
def test_no_other_file_can_be_read(studio, visit, path):
    page = visit(studio[0])
    assert page.request.get(f"{studio[0]}gradio_api/file={path}").status in (403, 404)
