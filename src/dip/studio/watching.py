"""The page's right side and its end: a repair that forms, its result, and all results to pick from."""

import time
from typing import Any

import gradio as gr
import pandas as pd

from dip.results.report.page import write_report
from dip.studio.painting import refusable
from dip.studio.repairs import Repair, Repairs

PATIENCE = 2  # seconds that a tick waits for a change


class Watching:
    """Lays itself out where it is built; `lay_out_result` does the rest, below. repairs: those of every page."""

    def __init__(self, repairs: Repairs):
        self.repairs = repairs
        self.watched = gr.State([])  # repairs, of which the one at work is shown, and then the last
        self.seen = gr.State()  # what of them was shown by the tick before
        with gr.Column(elem_id="at_hand"):
            with gr.Row():
                self.start = gr.Button("Repair", variant="primary", min_width=80)
                self.stop = gr.Button("Stop", interactive=False, min_width=80)
                self.go_on = gr.Button("Continue", interactive=False, min_width=80)
            self.status = gr.Markdown("Give a photograph first.", elem_id="status")
        self.picture = gr.Image(
            label="The picture so far", interactive=False, height=320, buttons=["fullscreen"], elem_id="so_far"
        )
        self.curve = gr.LinePlot(
            x="step",
            y="dB",
            label="How well it draws pixels that are hidden from it (PSNR)",
            height=180,
            x_title="step",
            y_title="dB",
            visible=False,
        )
        self.timer = gr.Timer(0.3)  # whose ticks are dropped while one waits

    def lay_out_result(self) -> None:
        self.results = gr.Gallery(
            label="All results: click on one to pick it",
            visible=False,
            columns=3,
            height=None,
            elem_id="results",
            object_fit="contain",
            allow_preview=False,
            buttons=[],
        )
        with gr.Column(visible=False) as self.result:
            gr.Markdown("## Result")
            self.slider = gr.ImageSlider(
                label="Before | after",
                slider_position=20,
                type="filepath",
                format="png",
                interactive=False,
                buttons=["fullscreen"],
            )
            self.download = gr.DownloadButton("Download", variant="primary")
            self.command = gr.Textbox(interactive=False, buttons=["copy"], lines=2, elem_id="command")
            with gr.Accordion("Report and all files of the run", open=False) as self.opened:
                self.where = gr.Markdown()
                self.files = gr.File(
                    label="Click to download; report.html opens in a browser", file_count="multiple", interactive=False
                )
        self.of_result = [self.slider, self.download, self.where, self.command, self.files]

    def connect(self, blocks: gr.Blocks) -> None:
        self.stop.click(self.stop_one, self.watched, show_progress="hidden")
        self.go_on.click(refusable(self.continue_one), self.watched, show_progress="hidden")
        self.results.select(self.pick, None, self.watched, show_progress="hidden")
        self.opened.expand(self.list_files, self.watched, self.files)
        shown = [self.status, self.picture, self.curve, self.stop, self.go_on, self.result, *self.of_result]
        self.timer.tick(
            self.watch,
            [self.watched, self.seen],
            [self.seen, *shown, self.results],
            show_progress_on=self.seen,  # nothing: a part that shows it counts its seconds sixty times in each
            queue=False,
        )
        blocks.load(lambda: self.repairs.latest, None, self.watched)

    def forget(self, watched: list[Repair]) -> tuple[Any, ...]:
        """Repairs that are over are no longer shown beside the photograph that is painted on now."""
        if watched and not self.one(watched).is_over:
            return tuple(gr.skip() for _ in range(5))
        return [], None, None, gr.update(visible=False), gr.update(visible=False)

    def one(self, watched: list[Repair]) -> Repair:
        return next((repair for repair in watched if not repair.is_over), watched[-1])

    def stop_one(self, watched: list[Repair]) -> None:
        if watched:
            self.one(watched).stop()

    def continue_one(self, watched: list[Repair]) -> None:
        self.repairs.start(self.one(watched))

    def pick(self, at: gr.SelectData) -> list[Repair]:
        return [self.to_pick[at.index]]

    @property
    def to_pick(self) -> list[Repair]:
        """The newest first."""
        return self.repairs.with_result[::-1]

    def list_files(self, watched: list[Repair]) -> list[str]:
        """All files of the run, with a report that is written now."""
        run = self.one(watched).run
        write_report(run.path)
        files = [file for file in run.path.iterdir() if file.is_file()]
        return [str(file) for file in sorted(files, key=lambda file: (file.name != "report.html", file.name))]

    def look(self, watched: list[Repair]) -> tuple[Any, ...]:
        """What a page shows of them: which one, whether it is over, how many results there are, and how far it is."""
        if not watched:
            return ()
        repair = self.one(watched)
        return str(repair.folder), repair.is_over, len(self.to_pick), repair.progress()

    def watch(self, watched: list[Repair], seen: Any) -> tuple[Any, ...]:
        """What has changed since the tick before, by `seen`. While a repair is at work, it waits for that."""
        until = time.monotonic() + PATIENCE
        while (found := self.look(watched)) == seen and not self.one(watched).is_over and time.monotonic() < until:
            time.sleep(0.1)
        if found in ((), seen):
            return seen, *[gr.skip()] * (7 + len(self.of_result))
        repair, results, now = self.one(watched), self.to_pick, found[-1]
        curve = gr.update(visible=False)  # a plot of nothing is an error in the console
        if now.scores:
            curve = gr.update(visible=True, value=pd.DataFrame(now.scores, columns=["step", "dB"]))
        which = f"Result {watched.index(repair) + 1} of {len(watched)}. " if len(watched) > 1 else ""
        changed = [which + now.stage, gr.skip() if now.picture is None else str(now.picture), curve]
        can_stop = not (repair.is_over or repair.is_stopped)
        changed += [gr.update(interactive=can_stop), gr.update(interactive=repair.can_continue)]
        changed.append(gr.update(visible=repair.has_result))
        result = self.show_result(repair) if repair.has_result else [gr.skip()] * len(self.of_result)
        gallery = gr.skip()  # which takes all its pictures anew
        if seen is None or found[:-1] != seen[:-1]:
            to_pick = [(str(each.after), each.title) for each in results]
            gallery = gr.update(value=to_pick, visible=len(to_pick) > repair.has_result)
        return found, *changed, *result, gallery

    def show_result(self, repair: Repair) -> list[Any]:
        label = "The same file on the command line" if repair.is_complete else "Continue it on the command line"
        where = f"They are in `{repair.run}`."
        sides = str(repair.before), str(repair.after)
        return [sides, str(repair.file), where, gr.update(value=repair.command, label=label), None]
