"""Pixels of random cutouts: as many as asked for, of all bands alike, the same for the same seed."""

import numpy as np

from astroanomaly.imaging.sampling import sample_pixels


class Cutouts:
    """Cutouts in memory whose pixels say which cutout, band and place they are of."""

    bands = ("g", "r")

    def __init__(self, n, side, dtype=np.float32):
        self.images = np.arange(n * side * side).reshape(n, 1, side, side) + np.array([0, 0.5]).reshape(1, 2, 1, 1)
        self.images = self.images.astype(dtype)

    def sample(self, n, rng):
        return [str(i) for i in rng.permutation(len(self.images))[:n]]

    def read(self, ids):
        return self.images[[int(i) for i in ids]]


def test_few_pixels_are_all_taken():
    cutouts = Cutouts(150, 6)
    drawn = sample_pixels(cutouts, np.random.default_rng(0), cutouts=100, pixels=10_000)
    assert drawn.shape == (1, 2, 1, 100 * 36)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn[0, 1], drawn[0, 0] + 0.5)  # the same places in each band
    assert len(np.unique(drawn[0, 0])) == 3600
    assert len(np.unique(drawn[0, 0] // 36)) == 100


def test_many_pixels_are_thinned():
    cutouts = Cutouts(150, 20)
    first, again, other = (
        sample_pixels(cutouts, np.random.default_rng(seed), cutouts=150, pixels=3000) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (1, 2, 1, 3000)
    assert len(np.unique(first[0, 0])) == 3000
    np.testing.assert_array_equal(first[0, 1], first[0, 0] + 0.5)
    of_each = np.unique(first[0, 0] // 400, return_counts=True)[1]
    assert set(of_each) == {20}


def test_eight_bit_pixels_and_an_empty_cache():
    drawn = sample_pixels(Cutouts(3, 4, np.uint8), np.random.default_rng(0), cutouts=9, pixels=9)
    assert drawn.dtype == np.float32
    assert drawn.shape == (1, 2, 1, 9)
    empty = sample_pixels(Cutouts(0, 4), np.random.default_rng(0), cutouts=9, pixels=9)
    assert empty.shape == (1, 2, 1, 0)
