"""Overview: the TensorBoard tabs beside curves and pictures."""

from dataclasses import dataclass
from textwrap import indent
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from dip.results.pictures import boards
from dip.results.result import Results
from dip.training.state import StatefulCallback

# TensorBoard's custom scalars: one chart for each title, with every curve whose tag matches.
CHARTS = {"PSNR and loss": {"PSNR, dB": ["Multiline", ["^psnr_"]], "loss": ["Multiline", ["^loss"]]}}


@dataclass(eq=False, repr=False)
class Overview(StatefulCallback):
    """The configuration as text, the curves of hole and known pixels in one chart, and, in a sweep, HParams.

    It comes after `Results`, whose metrics HParams shows. A run that resumes takes what is swept from its checkpoint.
    """

    configuration: str  # YAML
    swept: dict[str, Any]  # the keys that a sweep varies and their values, scalars
    saved = ("swept",)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        code = indent(self.configuration, 4 * " ")  # in Markdown
        for board in boards(trainer):
            board.add_text("configuration", code, trainer.global_step)
            if trainer.global_step == 0:
                board.add_custom_scalars(CHARTS)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        (results,) = [callback for callback in trainer.callbacks if isinstance(callback, Results)]
        metrics = results.result.metrics
        if not self.swept or metrics["stopped_by"] == "interrupt":
            return  # nothing is final yet
        # No seconds: a run that was killed and resumed has the same curves as one that was not.
        names = [name for name, value in metrics.items() if isinstance(value, int | float) and name != "seconds"]
        names.sort(key=lambda name: not name.startswith(("psnr", "ssim")))  # the page shows the first five
        final = {f"result/{name}": metrics[name] for name in names}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.swept, final, trainer.global_step)
