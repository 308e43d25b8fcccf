import time

import numpy as np
from PIL import Image

from dip.studio import hole
from dip.studio.painting import LOADING, Given, Marked, digest


def test_what_the_canvas_is_given_counts_before_it_has_loaded_it(tmp_path):
    photo, now = tmp_path / "photo.png", time.monotonic()
    Image.new("RGB", (30, 20)).save(photo)
    blank, added = np.zeros((20, 30, 4), dtype=np.uint8), np.zeros((20, 30), dtype=bool)
    added[2:5, 3:9] = True
    shown = np.asarray(hole.as_layer(added, Image.open(photo)))
    for layer, given, expected in (
        (blank, Given(added, digest(blank), now), added),  # it still shows what it did before
        (shown, Given(added, digest(blank), now), added),
        (blank, Given(added, digest(shown), now), ~added & added),  # all of it is erased
        (blank, Given(added, digest(blank), now - LOADING), ~added & added),  # the same, a while later
        (shown, Given(None, digest(shown), now), ~added & added),  # it is being cleared
        (None, Given(added, digest(None), now), added),  # a canvas on which nothing was painted
        (blank, Given(added, digest(None), now), added),  # the same, while it loads
    ):
        assert (Marked(photo, layer, given).all() == expected).all()
