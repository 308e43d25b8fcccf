"""Masks for the tests of this room."""

import pytest
import torch

from dip.image import holes


@pytest.fixture
def every_size_is_large(monkeypatch):
    """The work is done around the holes of the tests' small pictures too, with a margin of 6 pixels."""
    monkeypatch.setattr(holes, "SMALL", 0)
    monkeypatch.setattr(holes, "MARGIN", 6)


@pytest.fixture(scope="session")
def with_holes():
    """with_holes(height, width, (left, top, right, bottom), ...): a mask with these boxes as holes, (1, 1, H, W)."""

    def make(height, width, *boxes):
        mask = torch.ones(1, 1, height, width)
        for left, top, right, bottom in boxes:
            mask[..., top:bottom, left:right] = 0
        return mask

    return make
