import argparse

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def benchmark(script):
    return script("lab/scratch_benchmark.py")


@pytest.mark.parametrize(("kind", "sign"), [("bright", 1), ("dark", -1)])
def test_the_truth_is_where_the_photograph_has_been_scratched(benchmark, kind, sign):
    photo = Image.new("RGB", (80, 60), (128, 128, 128))
    damaged, truth = benchmark.scratched(photo, kind, seed=0)
    change = sign * (np.array(damaged, dtype=float).mean(axis=2) - 128)
    assert 0.02 < truth.mean() < 0.5
    assert (change[truth] > 5).mean() > 0.9
    assert abs(change[~benchmark.near(truth)]).max() < 50  # a quarter of the way to white or black, and grain
    assert not np.array_equal(truth, benchmark.scratched(photo, kind, seed=1)[1])


def test_rates_allow_for_one_pixel_beside(benchmark):
    truth = np.zeros((20, 20), dtype=bool)
    truth[5] = True
    assert benchmark.rates(np.roll(truth, 1, axis=0), truth) == (1, 1)
    assert benchmark.rates(np.roll(truth, 2, axis=0), truth) == (0, 0)
    half = truth.copy()
    half[:, 10:] = False
    half[15, :10] = True
    precision, recall = benchmark.rates(half, truth)
    assert (precision, recall) == (0.5, 11 / 20)


def test_scratches_on_plain_grey_are_found_and_the_clean_picture_has_none(benchmark):
    settings = argparse.Namespace(width=4, contrast=20, seeds=1)
    precision, recall, clean = benchmark.measured(Image.new("RGB", (160, 120), (120, 120, 120)), "bright", settings)
    assert precision > 90
    assert recall > 70
    assert clean == 0
