"""The studio's page: paint over what should go, watch the picture form, compare, download."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from shutil import copyfile
from typing import Any

import gradio as gr
import pandas as pd
from PIL import Image

from dip.errors import UserError
from dip.image import shapes
from dip.studio import hole
from dip.studio.repairs import Repair, Repairs, check_overrides

RECIPES = [("Quick: minutes", "quick"), ("Quality: four to five times as long", "quality")]
CSS = """
.gradio-container { max-width: 1400px !important; margin: auto }
#so_far img { width: 100%; height: 100%; object-fit: contain }
"""


def refusable(handler: Callable[..., Any]) -> Callable[..., Any]:
    """What is refused is said in the page, in one line."""

    @wraps(handler)
    def handle(*values: Any) -> Any:
        try:
            return handler(*values)
        except UserError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from None

    return handle


def pens(size: int) -> dict[str, Any]:
    """Brush and eraser of the editor, of so many pixels."""
    return {
        "brush": gr.Brush(default_size=size, colors=["#ff00ff"], color_mode="fixed"),
        "eraser": gr.Eraser(default_size=2 * size),
    }


def open_given(photo: Path | None) -> Image.Image:
    """The photograph. Raises UserError where none is given yet."""
    if photo is None:
        raise UserError("give a photograph first")
    return hole.open_photo(photo)


def all_marked(opened: Image.Image, editor: Any, marked: Any) -> shapes.Hole:
    """What is painted, and what was found and loaded."""
    painted = hole.painted(editor, opened.size)
    return painted if marked is None else painted | marked


def whole_hole(photo: Path | None, editor: Any, marked: Any, grow: int) -> shapes.Hole:
    """All that is marked, grown. Raises UserError where it is no hole."""
    found = all_marked(open_given(photo), editor, marked)
    return hole.check(shapes.grow(found, grow) if grow and found.any() else found)


class Page:
    """One page with all its parts; `repairs` are those of every tab."""

    def __init__(self, repairs: Repairs, photo: Path | None = None):
        self.repairs = repairs
        with gr.Blocks(title="Repair a photograph", analytics_enabled=False, delete_cache=(3600, 3600)) as self.blocks:
            gr.Markdown("# Repair a photograph\nPaint over what should go. Known pixels stay as they are.")
            self.photo, self.marked, self.found, self.repair = gr.State(), gr.State(), gr.State(), gr.State()
            with gr.Row():
                with gr.Column(scale=3, min_width=320):
                    self.lay_out_hole(photo)
                with gr.Column(scale=2, min_width=320):
                    self.lay_out_run()
            self.lay_out_result()
            self.connect(photo)

    def lay_out_hole(self, photo: Path | None) -> None:
        self.upload = gr.File(label="Photograph", value=None if photo is None else str(photo), height=110)
        self.editor = gr.ImageEditor(
            label="Paint the hole",
            sources=(),
            transforms=(),
            layers=False,
            type="numpy",
            format="png",
            **pens(4),
            height=560,
        )
        with gr.Accordion("Find the damage", open=False):
            with gr.Row():
                self.colour = gr.ColorPicker(label="A colour", value="#ffffff")
                self.tolerance = gr.Slider(0, 255, 40, step=1, label="Within (of 255)")
                self.find_colour = gr.Button("Find this colour")
            with gr.Row():
                self.kind = gr.Radio(["bright", "dark"], value="bright", label="Scratches")
                self.width = gr.Slider(1, 20, 4, step=1, label="Up to this wide (pixels)")
                self.contrast = gr.Slider(1, 100, 20, step=1, label="That stand out by (of 255)")
                self.find_scratches = gr.Button("Find scratches")
        with gr.Accordion("Mask file", open=False):
            self.mask_upload = gr.File(label="Load: white = known, black = hole", height=110)
            self.mask_download = gr.DownloadButton("Save what is marked")
        self.shown = gr.Image(label="Marked (magenta) and found (cyan)", visible=False, interactive=False, buttons=[])
        with gr.Row():
            self.add = gr.Button("Add what was found", visible=False, variant="primary")
            self.drop = gr.Button("Drop it", visible=False)
            self.clear = gr.Button("Clear found and loaded", visible=False)
        self.grow = gr.Slider(0, 20, 0, step=1, label="Grow the hole by (pixels)")

    def lay_out_run(self) -> None:
        self.recipe = gr.Radio(RECIPES, value="quick", label="Recipe")
        with gr.Accordion("More", open=False):
            self.seed = gr.Number(0, precision=0, minimum=0, label="Seed: another one draws another picture")
            self.overrides = gr.Textbox(
                label="Options, as on the command line", placeholder="model.depth=3 trainer.max_steps=500"
            )
        with gr.Row():
            self.start = gr.Button("Repair", variant="primary", min_width=80)
            self.stop = gr.Button("Stop", interactive=False, min_width=80)
            self.go_on = gr.Button("Continue", interactive=False, min_width=80)
        self.status = gr.Markdown("Give a photograph first.", elem_id="status")
        self.picture = gr.Image(
            label="The picture so far", interactive=False, height=320, buttons=["fullscreen"], elem_id="so_far"
        )
        self.curve = gr.LinePlot(
            x="step", y="dB", label="PSNR on held-out pixels", height=180, x_title="step", y_title="dB"
        )
        self.timer = gr.Timer(1.0)

    def lay_out_result(self) -> None:
        with gr.Column(visible=False) as self.result:
            gr.Markdown("## Result")
            self.slider = gr.ImageSlider(
                label="Before and after", type="filepath", format="png", interactive=False, buttons=["fullscreen"]
            )
            self.download = gr.DownloadButton("Download", variant="primary")
            self.where = gr.Markdown()
            self.command = gr.Code(
                label="The same result on the command line",
                language="shell",
                interactive=False,
                buttons=["copy"],
                wrap_lines=True,
            )
        self.of_result = [self.slider, self.download, self.where, self.command]

    def connect(self, photo: Path | None) -> None:
        shown = [self.found, self.shown, self.add, self.drop, self.clear]
        opening = refusable(self.open), self.upload, [self.photo, self.marked, self.editor, *shown, self.status]
        self.upload.change(*opening)
        if photo is not None:
            self.blocks.load(*opening)
        looks = [self.photo, self.editor, self.marked]
        colour, scratches = [self.colour, self.tolerance], [self.kind, self.width, self.contrast]
        self.find_colour.click(refusable(self.look(hole.find_colour)), [*looks, *colour], shown)
        self.find_scratches.click(refusable(self.look(shapes.scratches)), [*looks, *scratches], shown)
        self.add.click(self.keep, [*looks, self.found], [self.marked, *shown])
        self.drop.click(self.drop_found, looks, shown)
        self.clear.click(lambda: (None, *self.show(None, None, None, None)), None, [self.marked, *shown])
        self.mask_upload.upload(refusable(self.load), [self.mask_upload, *looks], [self.marked, *shown])
        self.mask_download.click(refusable(self.save), [*looks, self.grow], self.mask_download)
        options = [self.recipe, self.seed, self.overrides]
        self.start.click(refusable(self.begin), [*looks, self.grow, *options], self.repair, show_progress="hidden")
        self.stop.click(lambda repair: repair and repair.stop(), self.repair, show_progress="hidden")
        self.go_on.click(refusable(self.repairs.start), self.repair, show_progress="hidden")
        seen = [self.status, self.picture, self.curve, self.stop, self.go_on, self.result, *self.of_result]
        self.watched = gr.State()
        self.timer.tick(
            self.watch, [self.repair, self.watched], [self.watched, *seen], show_progress="hidden", queue=False
        )
        self.blocks.load(lambda: self.repairs.at_work, None, self.repair)

    def open(self, upload: str | None) -> tuple[Any, ...]:
        if upload is None:
            return None, None, None, *self.show(None, None, None, None), "Give a photograph first."
        photo = hole.for_canvas(hole.open_photo(Path(upload)))
        editor = gr.ImageEditor(
            value={"background": photo, "layers": [], "composite": None},
            canvas_size=photo.size,
            fixed_canvas=True,
            **pens(max(max(photo.size) // 120, 1)),
        )
        said = f"**{Path(upload).name}**. Paint over what should go; then press Repair."
        return Path(upload), None, editor, *self.show(None, None, None, None), said

    def look(self, finder: Callable[..., Any]) -> Callable[..., Any]:
        def find(photo: Any, editor: Any, marked: Any, *options: Any) -> Any:
            opened = open_given(photo)
            found = finder(opened, *options)
            if not found.any():
                raise UserError("nothing was found; try other values")
            return self.show(opened, editor, marked, found)

        return find

    def show(self, opened: Any, editor: Any, marked: Any, found: Any) -> tuple[Any, ...]:
        """What `found` and the parts that show it become; opened: the photograph."""
        is_there = marked is not None or found is not None
        picture = None
        if is_there:
            picture = hole.for_canvas(hole.tinted(opened, all_marked(opened, editor, marked), found))
        visible = [gr.update(visible=found is not None)] * 2
        return found, gr.update(value=picture, visible=is_there), *visible, gr.update(visible=marked is not None)

    def keep(self, photo: Any, editor: Any, marked: Any, found: Any) -> tuple[Any, ...]:
        return self.add_to(open_given(photo), editor, marked, found)

    def load(self, upload: str, photo: Any, editor: Any, marked: Any) -> tuple[Any, ...]:
        opened = open_given(photo)
        return self.add_to(opened, editor, marked, hole.load(Path(upload), opened.size))

    def drop_found(self, photo: Any, editor: Any, marked: Any) -> tuple[Any, ...]:
        return self.show(None if marked is None else open_given(photo), editor, marked, None)

    def add_to(self, opened: Any, editor: Any, marked: Any, found: Any) -> tuple[Any, ...]:
        marked = found if marked is None else marked | found
        return marked, *self.show(opened, editor, marked, None)

    def save(self, photo: Any, editor: Any, marked: Any, grow: int) -> Any:
        found = whole_hole(photo, editor, marked, grow)
        return gr.update(value=str(hole.save(found, self.repairs.new_folder() / "mask.png")))

    def begin(self, photo: Any, editor: Any, marked: Any, grow: int, recipe: str, seed: int, overrides: str) -> Repair:
        found = whole_hole(photo, editor, marked, grow)
        options = [f"experiment={recipe}", f"seed={int(seed)}", *check_overrides(overrides)]
        folder = self.repairs.new_folder()
        mask = hole.save(found, folder / "mask.png")
        repair = Repair(self.repairs.train, folder, Path(copyfile(photo, folder / photo.name)), mask, options)
        self.repairs.start(repair)
        return repair

    def watch(self, repair: Repair | None, watched: Any) -> tuple[Any, ...]:
        """What of a repair has changed since the tick before, by `watched`."""
        same = watched, *[gr.skip()] * (6 + len(self.of_result))
        if repair is None:
            return same
        now = repair.progress()
        state = now.stage, len(now.scores), repair.is_over, str(repair.folder)
        if state == watched:
            return same
        curve = pd.DataFrame(now.scores, columns=["step", "dB"]) if now.scores else None
        done = repair.is_over and repair.file.exists()
        changed = [now.stage, gr.skip() if now.picture is None else str(now.picture), curve]
        changed += [gr.update(interactive=not repair.is_over), gr.update(interactive=repair.can_continue)]
        changed.append(gr.update(visible=done))
        return state, *changed, *(self.show_result(repair) if done else [gr.skip()] * len(self.of_result))

    def show_result(self, repair: Repair) -> list[Any]:
        sides = [repair.folder / f"{name}.png" for name in ("before", "after")]
        for path, side in zip((repair.photo, repair.file), sides, strict=True):
            hole.for_canvas(hole.open_photo(path)).save(side)
        label = "The same file on the command line" if repair.is_complete else "Continue it on the command line"
        where = f"All files of the run are in `{repair.run}`."
        return [tuple(map(str, sides)), str(repair.file), where, gr.update(value=repair.command, label=label)]
