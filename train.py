"""Repairs one picture: python train.py data.image=PHOTO data.mask=MASK. All keys: python train.py --help."""

import sys

import hydra
from omegaconf import DictConfig

from dip.command import one_line_errors
from dip.schema import register
from dip.sweeps import prepared

register()


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def train(cfg: DictConfig) -> float | None:
    # Imports torch, so that help and refusals do not wait for it.
    from dip.jobs import run

    return run(cfg)


if __name__ == "__main__":
    with one_line_errors():
        sys.argv[1:] = prepared(sys.argv[1:])
        train()
