"""What callbacks keep of a run: copies of its weights, and their own part of a checkpoint."""

from typing import Any, ClassVar

from pytorch_lightning import Callback, LightningModule
from torch import Tensor


class StatefulCallback(Callback):
    """A callback whose attributes `saved` are in every checkpoint."""

    saved: ClassVar[tuple[str, ...]]

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in self.saved:
            setattr(self, name, state_dict[name])


def copy_state(module: LightningModule, into: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A copy of the module's state, in the memory of `into` where that is given."""
    state = module.state_dict()
    if into is None:
        return {name: value.clone() for name, value in state.items()}
    for name, value in state.items():
        into[name].copy_(value)
    return into
