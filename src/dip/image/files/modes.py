"""Pillow's modes: how a picture holds its pixels."""

# Pillow's modes, each with the one whose channels the network draws.
DRAWN = {
    **{"1": "L", "L": "L", "LA": "L", "I;16": "I;16", "I": "I", "F": "F"},
    **{"P": "RGB", "RGB": "RGB", "RGBA": "RGB", "YCbCr": "RGB", "CMYK": "CMYK"},
}
# Other ways to hold the same pixels, each with the one of the above that it becomes.
SAME = {"I;16B": "I;16", "I;16L": "I;16", "I;16N": "I;16", "La": "LA", "RGBa": "RGBA", "PA": "RGBA", "RGBX": "RGB"}
