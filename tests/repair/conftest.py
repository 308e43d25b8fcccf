"""Pictures whose holes make a repair of several runs."""

import numpy as np
import pytest
from PIL import Image

from dip.image import holes


@pytest.fixture
def large_hole(photograph, mask):
    """The tiny picture at 96x72, with a hole of 40x40 pixels."""
    Image.open(photograph).resize((96, 72)).save(photograph)
    pixels = np.full((72, 96), 255, dtype=np.uint8)
    pixels[16:56, 20:60] = 0
    Image.fromarray(pixels).save(mask)


@pytest.fixture
def far_holes(photograph, mask, monkeypatch):
    """The tiny picture at 120x90 with a hole in two corners, far apart where a margin is 20 pixels."""
    monkeypatch.setattr(holes, "SMALL", 0)
    monkeypatch.setattr(holes, "MARGIN", 20)
    Image.open(photograph).resize((120, 90)).save(photograph)
    pixels = np.full((90, 120), 255, dtype=np.uint8)
    pixels[8:14, 10:18] = pixels[70:75, 100:110] = 0
    Image.fromarray(pixels).save(mask)
    return pixels == 0


@pytest.fixture
def both_kinds(photograph, mask):
    """The tiny picture at 96x72 with a hole 12 pixels deep and a stroke of 4 pixels, far enough from each other."""
    Image.open(photograph).resize((96, 72)).save(photograph)
    pixels = np.full((72, 96), 255, dtype=np.uint8)
    pixels[10:34, 10:34] = 0
    pixels[60:64, 5:90] = 0
    Image.fromarray(pixels).save(mask)
    return pixels == 0
