"""Orientations of a cache's cutouts: each object by its own grid, whatever it shares the cache with."""

import dataclasses

import numpy as np
import pytest
from astropy.wcs import WCS

from astroanomaly import Cache
from astroanomaly.cache import orientations
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.cutting.grids import Grid, tan_grid
from astroanomaly.imaging.orientation import Orientation
from astroanomaly.records import CutoutBlock, Layout, Task
from turned_sky import header

NO_DATA = (0x33, 0x3B, 0x4A)
OUTSIDE = (0x0E, 0x11, 0x16)


def grid_of(head, shape):
    content = "SIMPLE  =                    T".ljust(80) + "BITPIX  =                    8".ljust(80)
    content += "NAXIS   =                    0".ljust(80) + head.tostring(endcard=True, padding=False)
    return Grid(content.encode().ljust(2880), shape)


def write(folder, layout, blocks, source="test"):
    """Make a cache of one shard for each list of blocks."""
    create_cache(folder, layout, [Task(f"t{number}") for number in range(len(blocks))], {"source": source})
    for number, some in enumerate(blocks):
        with ShardWriter(folder, layout) as writer:
            writer.begin(number, f"t{number}")
            for block in some:
                writer.add(block)
            writer.commit()
    return Cache.open(folder)


def stamps(count, layout, grids):
    """One object for each grid, its first pixels bright."""
    images = np.zeros((1, 1, layout.height, layout.width), np.float32)
    images[..., :3, :3] = 9
    return [
        CutoutBlock([f"o{k}"], images, layout.bands, grid=grid, ra=np.zeros(1), dec=np.zeros(1))
        for k, grid in zip(range(count), grids, strict=True)
    ]


def test_the_wcs_of_an_object_is_asked_once_and_those_of_a_page_together(tmp_path, monkeypatch):
    layout = Layout(("g",), 8, 8)
    heads = [header(10.0 * k, k % 2 == 1, 10.0 + k) for k in range(30)]
    blocks = stamps(30, layout, [grid_of(head, (100, 100)) for head in heads])
    cache = write(tmp_path / "c", layout, [blocks[:10], blocks[10:20], blocks[20:]])
    assert len(cache.shards) > 1
    asked, real = [], orientations.sky_scales
    monkeypatch.setattr(orientations, "sky_scales", lambda places: asked.append(len(places)) or real(places))
    ids = [f"o{k}" for k in np.random.default_rng(0).permutation(30)]
    cache.pictures.rgb(ids[:20])
    cache.pictures.compasses(ids[:20])
    cache.pictures.rgb(ids[5:])
    assert asked == [20, 10]
    for object_id, compass in zip(ids, cache.pictures.compasses(ids), strict=True):
        number = int(object_id[1:])
        assert compass.scale_arcsec == pytest.approx(1, rel=1e-3)
        np.testing.assert_allclose(compass.north, (0, 1), atol=0.2)  # a pixel at the corner of 8 x 8
        np.testing.assert_allclose(compass.east, (-1, 0), atol=0.2)
        assert cache.pictures.orientations([object_id], "north-quarter")[0].mirror == bool(number % 2)


def test_objects_without_a_wcs_ask_for_none(tmp_path, monkeypatch):
    layout = Layout(("g",), 4, 4)
    cache = write(tmp_path / "c", layout, [stamps(5, layout, [None] * 5)])
    monkeypatch.setattr(type(cache.shard(0)), "grid_numbers", lambda shard: 1 / 0)
    assert cache.pictures.orientations(["o0", "o3"], "north") == [Orientation()] * 2


def test_each_has_its_own_way_up_in_one_cache(tmp_path):
    """With and without a WCS, on a pole, in the same cache; oblong cutouts keep their frame."""
    layout = Layout(("g",), 20, 30)
    pole = WCS(header(0, False, 0.0))
    pole.wcs.crval, pole.wcs.crpix = [0.0, 90.0], [15.5, 10.5]
    grids = [
        tan_grid((10.0, 2.0), 0.2, (20, 30)), grid_of(header(90, False, 20.0), (20, 30)), None,
        grid_of(pole.to_header(), (20, 30)), grid_of(header(45, True, 20.0), (20, 30)),
    ]  # fmt: skip
    cache = write(tmp_path / "c", layout, [stamps(5, layout, grids)])
    ids = [f"o{k}" for k in range(5)]
    found = cache.pictures.orientations(ids, "north")
    assert found[:4] == [Orientation(), Orientation(turns=3), Orientation(), Orientation()]
    assert found[4].mirror
    assert abs(found[4].angle) == pytest.approx(45, abs=0.1)
    assert [one is None for one in cache.pictures.compasses(ids)] == [False, False, True, True, False]
    pictures = cache.pictures.rgb(ids)
    assert pictures.shape == (5, 20, 30, 3)
    empty = (pictures == OUTSIDE).all(-1)
    assert not (pictures == NO_DATA).all(-1).any()
    assert not empty[[0, 2, 3]].any()
    np.testing.assert_array_equal(empty[1], np.arange(30)[None].repeat(20, 0) // 5 % 5 == 0)  # five at either side
    assert (pictures[0, -1, 0] > 200).all()
    stored = cache.pictures.rgb(ids, cache.pictures.usual_display.changed(orientation="stored"))
    assert (stored[:, -1, 0] > 200).all()


@pytest.mark.parametrize(("source", "row"), [("images", 0), ("test", -1)])
def test_flux_from_picture_files_is_as_in_a_picture_viewer(tmp_path, source, row):
    layout = Layout(("g",), 6, 6)
    blocks = stamps(2, layout, [None, tan_grid((10.0, 2.0), 0.2, (6, 6))])
    one = write(tmp_path / "one", layout, [blocks], source)
    block = dataclasses.replace(blocks[0], ids=["other"])
    write(tmp_path / "two", layout, [[block]])
    cache = Cache.open(one.folders[0], tmp_path / "two")
    pictures = cache.pictures.rgb(["o0", "o1", "other"])
    assert (pictures[0, row, 0] > 200).all()
    assert (pictures[1:, -1, 0] > 200).all()
