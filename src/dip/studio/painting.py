"""The page's left side: the photograph, and the hole that is painted on it, drawn, found or loaded."""

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from dip.errors import UserError
from dip.image import shapes
from dip.image.shapes import Hole, Point
from dip.studio import hole

CORNER, OPPOSITE = "Click on a corner, then on the opposite one", "Now click on the opposite corner"


open_once = lru_cache(maxsize=1)(hole.open_photo)  # of an upload, whose path is of its content


class Marked(NamedTuple):
    """What of a page's state is the hole, in the order of the inputs of its handlers."""

    photo: Path | None
    editor: Any  # what is painted
    added: Hole | None  # what was drawn, found or loaded

    def open(self) -> Image.Image:
        """The photograph. Raises UserError where none is given yet."""
        if self.photo is None:
            raise UserError("give a photograph first")
        return open_once(self.photo)

    def all(self, opened: Image.Image) -> Hole:
        painted = hole.painted(self.editor, opened.size)
        return painted if self.added is None else painted | self.added

    def grown(self, pixels: int) -> Hole:
        """Raises UserError where it is no hole."""
        found = self.all(self.open())
        return hole.check(shapes.grow(found, pixels) if pixels and found.any() else found)


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


class Painting:
    """Lays itself out where it is built. marked: the inputs that are a `Marked`."""

    def __init__(self, given: Path | None):
        self.photo, self.added, self.found, self.corner = gr.State(), gr.State(), gr.State(), gr.State()
        self.upload = gr.File(label="Photograph", value=None if given is None else str(given), height=110)
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
        self.marked = [self.photo, self.editor, self.added]
        with gr.Accordion("Draw a rectangle", open=False):
            self.lay_out_rectangle()
        with gr.Accordion("Find the damage", open=False):
            self.lay_out_finders()
        with gr.Accordion("Mask file", open=False):
            self.mask_upload = gr.File(label="Load: white = known, black = hole", height=110)
            self.save = gr.Button("Save what is marked")
            self.saved = gr.File(label="Saved", visible=False, interactive=False)
        self.shown = gr.Image(label="Marked (magenta), new (cyan)", visible=False, interactive=False, buttons=[])
        with gr.Row():
            self.add = gr.Button("Add what is new", visible=False, variant="primary")
            self.drop = gr.Button("Drop it", visible=False)
            self.clear = gr.Button("Clear what was added (paint stays)", visible=False)
        self.grow = gr.Slider(0, 20, 0, step=1, label="Grow the hole by (pixels)")
        self.connect()

    def lay_out_rectangle(self) -> None:
        self.clickable = gr.Image(label=CORNER, interactive=False, buttons=[], elem_id="clickable")
        with gr.Row():
            self.sides = [
                gr.Number(0, precision=0, minimum=0, label=f"{side} (pixel)", min_width=80)
                for side in ("Left", "Top", "Right", "Bottom")
            ]
        self.draw = gr.Button("Add this rectangle")

    def lay_out_finders(self) -> None:
        self.dropper = gr.Image(label="Click on the damage to take its colour", interactive=False, buttons=[])
        with gr.Row():
            self.colour = gr.ColorPicker(label="Colour", value="#ffffff", min_width=120)
            self.tolerance = gr.Slider(0, 255, 40, step=1, label="Tolerance (0: this colour only)", min_width=240)
        self.find_colour = gr.Button("Find this colour")
        with gr.Row():
            self.kind = gr.Radio(["bright", "dark"], value="bright", label="Scratches", min_width=160)
            self.width = gr.Slider(1, 20, 4, step=1, label="Width, at most (pixels)", min_width=240)
            self.contrast = gr.Slider(1, 100, 20, step=1, label="Contrast, at least", min_width=240)
        self.find_scratches = gr.Button("Find scratches")

    def connect(self) -> None:
        shown = [self.found, self.shown, self.clickable, self.add, self.drop, self.clear]
        self.opening = refusable(self.open), self.upload, [self.photo, self.added, self.editor, self.dropper, *shown]
        self.upload.change(*self.opening)
        colour, scratches = [self.colour, self.tolerance], [self.kind, self.width, self.contrast]
        self.find_colour.click(refusable(self.look(hole.find_colour)), [*self.marked, *colour], shown)
        self.find_scratches.click(refusable(self.look(shapes.scratches)), [*self.marked, *scratches], shown)
        self.dropper.select(refusable(self.take_colour), self.photo, self.colour)
        corners = [*self.marked, self.corner, *self.sides]
        self.clickable.select(refusable(self.click), corners, [self.corner, *self.sides, self.added, *shown])
        self.draw.click(refusable(self.add_rectangle), [*self.marked, *self.sides], [self.added, *shown])
        self.add.click(self.keep, [*self.marked, self.found], [self.added, *shown])
        self.drop.click(self.drop_found, self.marked, shown)
        self.clear.click(self.clear_added, self.marked, [self.added, *shown])
        self.mask_upload.upload(refusable(self.load), [self.mask_upload, *self.marked], [self.added, *shown])

    def open(self, upload: str | None) -> tuple[Any, ...]:
        given = None if upload is None else Path(upload)
        cleared = self.show(Marked(given, None, None))
        if given is None:
            return None, None, None, None, *cleared
        photo = hole.for_canvas(open_once(given))
        editor = gr.ImageEditor(
            value={"background": photo, "layers": [], "composite": None},
            canvas_size=photo.size,
            fixed_canvas=True,
            **pens(max(max(photo.size) // 120, 1)),
        )
        return given, None, editor, photo, *cleared

    def look(self, finder: Callable[..., Hole]) -> Callable[..., Any]:
        """A handler that shows what the finder finds."""

        def find(photo: Any, editor: Any, added: Any, *options: Any) -> Any:
            marked = Marked(photo, editor, added)
            found = finder(marked.open(), *options)
            if not found.any():
                raise UserError("nothing was found; try other values")
            return self.show(marked, found)

        return find

    def click(self, at: gr.SelectData, photo: Any, editor: Any, added: Any, first: Any, *sides: int) -> Any:
        """The first click is a corner, the second one the opposite; then the rectangle is added."""
        corner = Point(*hole.on_photo(Marked(photo, editor, added).open(), *at.index))
        if first is None:
            return corner, *corner, *corner, added, *[gr.skip()] * 2, gr.update(label=OPPOSITE), *[gr.skip()] * 3
        sides = min(first.x, corner.x), min(first.y, corner.y), max(first.x, corner.x), max(first.y, corner.y)
        return None, *sides, *self.add_rectangle(photo, editor, added, *sides)

    def add_rectangle(self, photo: Any, editor: Any, added: Any, *sides: int) -> tuple[Any, ...]:
        return self.keep(photo, editor, added, hole.rectangle(Marked(photo, editor, added).open(), *sides))

    def take_colour(self, at: gr.SelectData, photo: Any) -> str:
        opened = Marked(photo, None, None).open()
        return hole.colour_at(opened, hole.on_photo(opened, *at.index))

    def show(self, marked: Marked, found: Hole | None = None) -> tuple[Any, ...]:
        """What `found` and the parts that show it become."""
        picture, is_there = None, marked.added is not None or found is not None
        if marked.photo is not None:
            opened = marked.open()
            picture = hole.for_canvas(hole.tinted(opened, marked.all(opened), found))
        shown = gr.update(value=picture if is_there else None, visible=is_there), gr.update(value=picture, label=CORNER)
        visible = [gr.update(visible=found is not None)] * 2
        return found, *shown, *visible, gr.update(visible=marked.added is not None)

    def keep(self, photo: Any, editor: Any, added: Any, found: Hole) -> tuple[Any, ...]:
        added = found if added is None else added | found
        return added, *self.show(Marked(photo, editor, added))

    def clear_added(self, photo: Any, editor: Any, added: Any) -> tuple[Any, ...]:
        return None, *self.show(Marked(photo, editor, None))

    def load(self, upload: str, photo: Any, editor: Any, added: Any) -> tuple[Any, ...]:
        opened = Marked(photo, editor, added).open()
        return self.keep(photo, editor, added, hole.load(Path(upload), opened.size))

    def drop_found(self, photo: Any, editor: Any, added: Any) -> tuple[Any, ...]:
        return self.show(Marked(photo, editor, added))
