"""Repairs one picture: python train.py data.image=PHOTO data.mask=MASK. All keys: python train.py --help."""

import sys

import hydra
from omegaconf import DictConfig

from dip.command import one_line_errors, quote_files
from dip.schema import register

register()


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def train(cfg: DictConfig) -> None:
    # Imports torch, so that help and refusals do not wait for it.
    from dip.experiment import run

    run(cfg)


if __name__ == "__main__":
    sys.argv[1:] = quote_files(sys.argv[1:])
    with one_line_errors():
        train()
