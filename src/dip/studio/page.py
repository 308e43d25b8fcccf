"""The studio's page: paint over what should go, watch the picture form, compare, download."""

from pathlib import Path
from shutil import copyfile
from typing import Any

import gradio as gr

from dip.config.compose import CONFIGS
from dip.errors import UserError
from dip.studio import hole
from dip.studio.options import TURNED, check_overrides, explanations
from dip.studio.painting import Marked, Painting
from dip.studio.repairs import Repair, Repairs
from dip.studio.watching import Watching

RECIPES = [("Quick: minutes", "quick"), ("Quality: four to five times as long", "quality")]
REFERENCE = CONFIGS.parent / "docs" / "reference" / "options.md"
CSS = """
.gradio-container { max-width: 1400px !important; margin: auto }
#results .grid-wrap { height: auto; max-height: none }
#so_far img { width: 100%; height: 100%; object-fit: contain }
button[aria-label="Clear canvas"] { display: none }  /* it takes the photograph along */
@media (max-width: 640px) {  /* a telephone: else Repair is far below the photograph */
    #at_hand { position: fixed; bottom: 0; left: 0; z-index: 10; max-height: 40vh; overflow-y: auto; gap: var(--size-2);
        padding: var(--size-2); background: var(--body-background-fill);
        opacity: 0.98;  /* below what is opaque some browsers draw the canvas in part */
        border-top: 1px solid var(--border-color-primary) }
    .gradio-container { padding-bottom: var(--size-32) !important }
}
"""
# Gradio's editor counts the photograph as the first thing to undo.
KEEP_PHOTO = """() => { setInterval(() => {
    const history = window.editor?.command_manager;
    if (history?.contains("AddImage")) history.reset();
}, 300) }"""


class Page:
    """One page with all its parts; `repairs` are those of every tab."""

    def __init__(self, repairs: Repairs, given: Path | None = None):
        self.repairs = repairs
        with gr.Blocks(title="Repair a photograph", analytics_enabled=False, delete_cache=(3600, 86400)) as self.blocks:
            gr.Markdown("# Repair a photograph\nPaint over what should go. Known pixels stay as they are.")
            with gr.Row():
                with gr.Column(scale=3, min_width=320):
                    self.painting = Painting(given)
                with gr.Column(scale=2, min_width=320):
                    self.options = self.lay_out_options()
                    self.watching = Watching(repairs)
            self.watching.lay_out_result()
            self.connect(is_given=given is not None)

    def lay_out_options(self) -> list[Any]:
        """The inputs of `begin` after the hole."""
        recipe = gr.Radio(RECIPES, value="quick", label="Recipe")
        with gr.Accordion("More options", open=False):
            with gr.Row():
                seed = gr.Number(0, precision=0, minimum=0, label="Seed: any number; another one draws another picture")
                count = gr.Slider(1, 6, 1, step=1, label="Results to pick from, each of a seed of its own")
            said = explanations(REFERENCE)
            turned = [
                gr.Textbox(label=key, info=said[key], placeholder="as the recipe has it", max_lines=1) for key in TURNED
            ]
            typed = gr.Textbox(label="All others, as on the command line", placeholder="refine=none input.noise=0.1")
        return [recipe, seed, count, typed, *turned]

    def connect(self, is_given: bool) -> None:
        self.blocks.load(js=KEEP_PHOTO)
        if is_given:
            self.blocks.load(*self.painting.opening, show_progress_on=self.painting.upload)
        watching = self.watching
        shown = [watching.watched, watching.seen, watching.picture, watching.curve, watching.result]
        self.painting.upload.upload(watching.forget, watching.watched, shown)
        self.painting.photo.change(self.say_what_is_next, self.painting.photo, watching.status)
        hole_of = [*self.painting.marked, self.painting.grow]
        self.painting.on(self.painting.save.click, self.save, hole_of, self.painting.saved)
        inputs = [*hole_of, self.painting.found, *self.options]
        self.painting.on(watching.start.click, self.begin, inputs, watching.watched, show_progress="hidden")
        watching.connect(self.blocks)

    def say_what_is_next(self, photo: Path | None) -> str:
        if photo is None:
            return "Give a photograph first."
        return f"**{photo.name}**. Paint over what should go; then press Repair."

    def save(self, photo: Any, layer: Any, given: Any, grow: int) -> Any:
        found = Marked(photo, layer, given).grown(grow)
        return gr.update(value=str(hole.save(found, self.repairs.new_folder() / "mask.png")), visible=True)

    def begin(self, photo: Path, layer: Any, given: Any, grow: int, new: Any, *options: Any) -> list[Repair]:
        """Start a repair for each of so many seeds. new: what was found, and neither added nor dropped yet."""
        if new is not None:
            raise UserError("what is cyan is not part of the hole yet; add it or drop it first")
        found = Marked(photo, layer, given).grown(grow)
        recipe, seed, count, typed, *turned = options
        overrides = check_overrides(dict(zip(TURNED, turned, strict=True)), typed)
        begun = []
        for each in range(int(seed), int(seed) + count):
            folder = self.repairs.new_folder()
            own, mask = Path(copyfile(photo, folder / photo.name)), hole.save(found, folder / "mask.png")
            begun.append(Repair(folder, own, mask, [f"experiment={recipe}", f"seed={each}", *overrides]))
        for repair in begun:
            self.repairs.start(repair)
        return begun
