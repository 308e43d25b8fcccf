"""The page's left side: the photograph, and the hole that is painted on it, drawn, found or loaded."""

import time
from collections.abc import Callable
from functools import lru_cache, wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from dip.errors import UserError
from dip.image import shapes
from dip.image.shapes import Hole, Point
from dip.studio import hole

READ = "editor => editor?.layers?.[0] ?? null"  # what is painted, in JavaScript
LOADING = 3  # seconds in which the canvas has loaded what it is given
SAID = 30  # seconds that a refusal is shown
CORNER, OPPOSITE = "Click on a corner, then on the opposite one", "Now click on the opposite corner"

open_once = lru_cache(maxsize=1)(hole.open_photo)  # of an upload, whose path is of its content


class Given(NamedTuple):
    """What the canvas was given to show: a hole that was drawn, found or loaded; None where it was cleared."""

    exact: Hole | None
    instead_of: bytes  # of the layer that it replaces
    at: float  # in seconds of `time.monotonic`

    def is_awaited(self, layer: Any) -> bool:
        """Whether the canvas still shows what it did before; it takes up to a second to load a layer."""
        return time.monotonic() - self.at < LOADING and digest(layer) == self.instead_of


def digest(layer: Any) -> bytes:
    """An empty layer is as good as none: the canvas has one for a moment, before it has loaded what it is given."""
    return b"" if layer is None or not layer.any() else sha256(layer).digest()


class Marked(NamedTuple):
    """What of a page's state is the hole, in the order of the inputs of its handlers."""

    photo: Path | None
    layer: Any  # what is painted
    given: Given | None

    def open(self) -> Image.Image:
        """The photograph. Raises UserError where none is given yet."""
        if self.photo is None:
            raise UserError("give a photograph first")
        return open_once(self.photo)

    def all(self) -> Hole:
        exact = None if self.given is None else self.given.exact
        if self.given is not None and self.given.is_awaited(self.layer):
            return hole.painted(None, None, self.open()) if exact is None else exact
        return hole.painted(self.layer, exact, self.open())

    def grown(self, pixels: int) -> Hole:
        """Raises UserError where it is no hole."""
        found = self.all()
        return hole.check(shapes.grow(found, pixels) if pixels and found.any() else found)


def refusable(handler: Callable[..., Any]) -> Callable[..., Any]:
    """What is refused is said in the page, in one line."""

    @wraps(handler)
    def handle(*values: Any) -> Any:
        try:
            return handler(*values)
        except UserError as error:
            raise gr.Error(str(error), duration=SAID, print_exception=False) from None

    return handle


def pens(size: int) -> dict[str, Any]:
    """Brush and eraser of the editor, of so many pixels."""
    return {
        "brush": gr.Brush(default_size=size, colors=["#" + bytes(hole.PAINT[:3]).hex()], color_mode="fixed"),
        "eraser": gr.Eraser(default_size=2 * size),
    }


class Painting:
    """Lays itself out where it is built. marked: the inputs that are a `Marked`."""

    def __init__(self, given: Path | None):
        self.photo, self.given, self.found = gr.State(), gr.State(), gr.State()
        self.corners, self.clicked = gr.State([]), gr.State()  # of a rectangle, and where a colour was taken
        self.upload = gr.File(label="Photograph", value=None if given is None else str(given), height=110)
        self.editor = gr.ImageEditor(
            label="Paint over the damage",
            sources=(),
            transforms=(),
            layers=False,
            type="numpy",
            format="png",
            **pens(4),
            canvas_size=(8, 8),  # the least: layers are centred on the larger of this one and the photograph
            height=560,
        )
        self.layer = gr.Image(visible=False, type="numpy", image_mode="RGBA", format="png")
        self.marked = [self.photo, self.layer, self.given]
        self.clear = gr.Button("Clear all marks", size="sm")
        with gr.Accordion("Draw a rectangle", open=False):
            self.lay_out_rectangle()
        with gr.Accordion("Find the damage", open=False):
            self.lay_out_finders()
        with gr.Accordion("Mask file", open=False):
            self.mask_upload = gr.File(label="Load: white = known, black = hole", height=110)
            self.save = gr.Button("Save what is marked")
            self.saved = gr.File(label="Saved", visible=False, interactive=False)
        with gr.Column(visible=False) as self.offered:
            self.shown = gr.Image(label="New (cyan)", interactive=False, buttons=[])
            with gr.Row():
                self.add = gr.Button("Add what is new", variant="primary")
                self.drop = gr.Button("Drop it")
        self.grow = gr.Slider(0, 20, 0, step=1, label="Grow what is marked by (pixels)")
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
        self.reach = gr.Slider(0, 500, 0, step=10, label="Only so far from the click (pixels; 0: anywhere)")
        self.find_colour = gr.Button("Find this colour")
        with gr.Row():
            self.kind = gr.Radio(["bright", "dark"], value="bright", label="Scratches", min_width=160)
            self.width = gr.Slider(1, 20, 4, step=1, label="Width, at most (pixels)", min_width=240)
            self.contrast = gr.Slider(1, 100, 20, step=1, label="Contrast, at least", min_width=240)
        self.find_scratches = gr.Button("Find scratches")

    def connect(self) -> None:
        offer, hole_of = [self.found, self.shown, self.offered], [self.given, self.editor, self.clickable]
        kept = [*hole_of, *offer]
        unseen: dict[str, Any] = {"show_progress_on": self.given}  # see `on`
        self.opening = refusable(self.open), self.upload, [self.photo, self.dropper, self.clicked, *kept]
        self.upload.change(*self.opening, show_progress_on=self.upload)
        colour = [self.colour, self.tolerance, self.clicked, self.reach]
        scratches = [self.kind, self.width, self.contrast]
        self.on(self.find_colour.click, self.look(hole.find_colour), [*self.marked, *colour], offer)
        self.on(self.find_scratches.click, self.look(shapes.scratches), [*self.marked, *scratches], offer)
        self.dropper.select(refusable(self.take_colour), self.photo, [self.colour, self.clicked])
        shown = [self.corners, *self.sides, self.clickable]
        clicked = self.clickable.select(refusable(self.click), [self.photo, self.corners], shown)
        self.on(clicked.success, self.add_clicked, [*self.marked, self.corners], [*kept, self.corners], **unseen)
        self.on(self.draw.click, self.add_rectangle, [*self.marked, *self.sides], kept, **unseen)
        self.on(self.add.click, self.keep, [*self.marked, self.found], kept, **unseen)
        self.drop.click(self.offer, None, offer)
        self.on(self.clear.click, self.show, [self.photo, self.layer], hole_of, **unseen)
        self.on(self.mask_upload.upload, self.load, [*self.marked, self.mask_upload], kept, **unseen)

    def on(self, event: Any, handler: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> None:
        """Have the handler follow an event, with what is painted by then.

        The page reads the editor by itself, and no handler shows its progress on it: else Gradio reads it again, and
        uploads it, at every event to come, and a repair that is watched takes five times as long. One handler runs at a
        time, so that each knows what the one before has given to the canvas.
        """
        read = event(None, self.editor, self.layer, js=READ)
        read.then(refusable(handler), inputs, outputs, concurrency_id="canvas", **options)

    def open(self, upload: str | None) -> tuple[Any, ...]:
        given = None if upload is None else Path(upload)
        if given is None:
            return None, None, None, *self.show(None), *self.offer()
        return given, hole.for_canvas(open_once(given)), None, *self.show(given), *self.offer()

    def show(self, photo: Path | None, layer: Any = None, marked: Hole | None = None) -> tuple[Any, ...]:
        """What the canvas is given in place of a layer, the editor, and the picture of which corners are clicked."""
        if photo is None:
            return None, None, None
        opened = open_once(photo)
        canvas = hole.for_canvas(opened)
        layers = [] if marked is None else [hole.as_layer(marked, opened)]
        value: Any = {"background": canvas, "layers": layers, "composite": None}
        editor = gr.ImageEditor(
            value=value,
            canvas_size=canvas.size,
            fixed_canvas=True,
            **pens(max(max(canvas.size) // 120, 1)),
        )
        tinted = opened if marked is None else shapes.tinted(opened, marked)
        given = Given(marked, digest(layer), time.monotonic())
        return given, editor, gr.update(value=hole.for_canvas(tinted), label=CORNER)

    def offer(self, found: Hole | None = None, picture: Image.Image | None = None) -> tuple[Any, ...]:
        """What was found becomes that, and is shown until it is added or dropped."""
        return found, picture, gr.update(visible=found is not None)

    def look(self, finder: Callable[..., Hole]) -> Callable[..., Any]:
        """A handler that offers what the finder finds."""

        def find(photo: Any, layer: Any, given: Any, *options: Any) -> Any:
            marked = Marked(photo, layer, given)
            opened = marked.open()
            found = finder(opened, *options)
            if not found.any():
                raise UserError("nothing was found; try other values")
            return self.offer(found, hole.for_canvas(hole.tinted(opened, marked.all(), found)))

        return find

    def click(self, at: gr.SelectData, photo: Path, corners: list[Point]) -> tuple[Any, ...]:
        """The first click is a corner, and the second one the opposite."""
        corner = hole.on_photo(open_once(photo), *at.index)
        if len(corners) != 1:
            return [corner], *corner, *corner, gr.update(label=OPPOSITE)
        both = [*corners, corner]
        return both, *hole.sides_between(*both), gr.update(label=CORNER)

    def add_clicked(self, photo: Any, layer: Any, given: Any, corners: list[Point]) -> Any:
        """Add the rectangle once both of its corners are there."""
        if len(corners) != 2:
            return gr.skip()
        return *self.add_rectangle(photo, layer, given, *hole.sides_between(*corners)), []

    def add_rectangle(self, photo: Any, layer: Any, given: Any, *sides: int) -> tuple[Any, ...]:
        return self.keep(photo, layer, given, hole.rectangle(Marked(photo, layer, given).open(), *sides))

    def keep(self, photo: Any, layer: Any, given: Any, found: Hole) -> tuple[Any, ...]:
        return *self.show(photo, layer, Marked(photo, layer, given).all() | found), *self.offer()

    def load(self, photo: Any, layer: Any, given: Any, upload: str) -> tuple[Any, ...]:
        opened = Marked(photo, layer, given).open()
        return self.keep(photo, layer, given, hole.load(Path(upload), opened.size))

    def take_colour(self, at: gr.SelectData, photo: Path | None) -> tuple[str, Point]:
        opened = Marked(photo, None, None).open()
        clicked = hole.on_photo(opened, *at.index)
        return hole.colour_at(opened, clicked), clicked
