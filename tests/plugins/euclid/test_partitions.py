"""A HATS catalogue in many partitions: the same cutouts as of one table, and each mosaic opened once."""

from collections import Counter

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from astropy_healpix import HEALPix

from astroanomaly import BandError, FootprintError, Request, UnreadableError, ingest
from astroanomaly.cache.plan import read_plan
from astroanomaly.config import build
from astroanomaly.ingestion.ingest import dry_run
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly_plugins.euclid.source import EuclidSource
from astroanomaly_plugins.shared import gather
from astroanomaly_plugins.shared.blocks import Blocks
from astroanomaly_plugins.shared.gather import Gather
from astroanomaly_plugins.shared.positions import Positions
from servers.euclid import EuclidServer

ORDER = 15  # of the partitions: 6 arcsec


@pytest.fixture
def esa(mer, monkeypatch):
    with EuclidServer(mer) as server:
        server.sleepy, server.datalabs = 0, str(mer.folder / "mer")
        monkeypatch.setenv("ASTROANOMALY_EUCLID_SERVER", server.url)
        yield server


@pytest.fixture
def rows(mer):
    """The objects of the survey, one outside of it, and a column that some lack."""
    table = mer.catalogue["object_id", "right_ascension", "declination", "flux_vis_psf"]
    table.rename_columns(["right_ascension", "declination"], ["ra", "dec"])
    table.add_row([7, 151.0, 2.2, 1.0])
    return table


@pytest.fixture
def hats(rows, tmp_path):
    cells = HEALPix(nside=2**ORDER, order="nested").lonlat_to_healpix(rows["ra"] * u.deg, rows["dec"] * u.deg)
    folder = tmp_path / "hats" / "dataset" / f"Norder={ORDER}" / "Dir=0"
    folder.mkdir(parents=True)
    for cell in np.unique(cells).tolist():
        rows[cells == cell].write(folder / f"Npix={cell}.parquet")
    (tmp_path / "hats" / "hats.properties").write_text("hats_col_ra=ra\nhats_col_dec=dec\n")
    assert len(np.unique(cells)) > 5
    return tmp_path / "hats"


def cut(tmp_path, name, catalog, via, **options):
    given = {"size": "16", "bands": ("VIS", "H"), "catalog": catalog, "id": "object_id", "via": via}
    fetch = {"keep": str(tmp_path / "kept"), "first_wait_s": 0.01, "attempts": 2, "timeout_s": 20}
    return ingest(EuclidSource(), out=tmp_path / name, fetch=fetch, **{**given, **options})


@pytest.mark.parametrize("via", ["datalabs", "esa"])
def test_partitions_give_what_one_table_gives_and_each_tile_is_one_task(via, esa, rows, hats, tmp_path):
    whole = cut(tmp_path, "whole", rows, via)
    parts = cut(tmp_path, "parts", hats, via)
    assert parts.digest() == whole.digest()
    assert [failure.kind for failure in parts.failures] == ["no coverage"]
    assert {fact.name for fact in parts.facts.values()} == {fact.name for fact in whole.facts.values()}
    for name in ("objects", "tiles", "size", "release"):
        known, other = parts.facts[name].value, whole.facts[name].value
        assert {k: v for k, v in known.items() if k != "first"} == {k: v for k, v in other.items() if k != "first"}
    assert parts.facts["objects"].value == {
        "total": len(rows),
        "outside_all_mosaics": 1,
        "without_a_valid_position": 0,
    }
    if via == "datalabs":
        tiles = Counter(
            task.payload["tiles"][0]["columns"]["tile"]
            for _, task in read_plan(tmp_path / "parts")
            if task.payload["kind"] == "tile"
        )
        assert set(tiles.values()) == {1}


def test_partitions_are_read_on_dask(esa, rows, hats, tmp_path):
    whole = cut(tmp_path, "whole", rows, "datalabs")
    parts = cut(tmp_path, "parts", hats, "datalabs", scheduler="local", workers=2)
    assert parts.digest() == whole.digest()


def test_a_dry_run_counts_what_partitions_will_fetch(esa, hats, rows, tmp_path):
    found = []
    for catalog in (rows, hats):
        options = {"size": "16", "bands": ("VIS", "H"), "catalog": catalog, "id": "object_id", "via": "esa"}
        fetch = {"keep": str(tmp_path / "kept"), "first_wait_s": 0.01}
        found.append(dry_run(SourceRequest.of(EuclidSource(), options=options, fetch=fetch)))
    assert found[0].objects == found[1].objects == len(rows)
    assert sorted(map(repr, found[0].downloads)) == sorted(map(repr, found[1].downloads))


def test_partitions_without_a_mosaic_or_a_band_are_refused_as_a_table_is(esa, mer, hats, rows, tmp_path):
    with pytest.raises(BandError, match="no mosaic at these positions shows the band 'DECAM_z'"):
        cut(tmp_path, "band", hats, "datalabs", bands=("VIS", "DECAM_z"))
    far = Table(rows)
    far["ra"] += 90
    far.write(next(iter(hats.rglob("*.parquet"))), overwrite=True)
    for file in list(hats.rglob("*.parquet"))[1:]:
        file.unlink()
    with pytest.raises(FootprintError, match="lies on a mosaic"):
        cut(tmp_path, "far", hats, "datalabs")


def test_partitions_whose_mosaics_are_not_there_are_failures_and_the_others_are_cut(mer, esa, rows, hats, tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()  # what an archive has answered is kept for each
    whole = cut(tmp_path / "a", "whole", rows, "datalabs")
    tile_of = {one: str(whole[one].columns["tile"]) for one in whole.ids}
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    order = [one for file in sorted(hats.rglob("*.parquet"), key=lambda file: int(file.stem.partition("=")[2]))
             for one in Table.read(file)["object_id"].astype(str)]  # fmt: skip
    first = tile_of[next(one for one in order if one in tile_of)]
    (mounted / first).symlink_to(mer.folder / "mer" / first)
    esa.datalabs = str(mounted)
    parts = cut(tmp_path / "b", "parts", hats, "datalabs")
    assert set(parts.ids) == {one for one, tile in tile_of.items() if tile == first}
    hidden = {one.object_id for one in parts.failures if one.reason == "its mosaics are not on this computer"}
    assert hidden == set(tile_of) - set(parts.ids)
    assert hidden
    for one in parts.ids:
        np.testing.assert_array_equal(parts[one].data, whole[one].data)
    esa.datalabs = str(tmp_path / "nothing")
    with pytest.raises(UnreadableError, match="elsewhere say --via esa or irsa"):
        cut(tmp_path / "c", "none", hats, "datalabs")


# ----------------------------------------------------------------------------------------------- objects that wait


def positions(count, start=0):
    ids = np.array([f"o{start + k}" for k in range(count)])
    return Positions(ids, np.zeros(count), np.zeros(count), {})


def test_objects_wait_for_the_last_part_that_touches_their_image():
    from astroanomaly import Area
    from astroanomaly.sky import unit_vectors

    middles = unit_vectors(np.array([0.0, 1.0, 2.0, 90.0]), np.zeros(4))
    blocks = Blocks(iter([(0, positions(1))]), [Area(middle, np.radians(0.5)) for middle in middles])
    held = Gather(blocks)
    held.add("a", "image", {"id": np.array(["x"])}, 0.5, 0.0, 0.3)  # touches the parts 0 and 1
    held.add("b", "image", {"id": np.array(["y"])}, 1.5, 0.0, 0.3)
    assert [group.key for group in held.ready(1)] == []
    held.add("a", "image", {"id": np.array(["z"])}, 0.5, 0.0, 0.3)
    (first,) = held.ready(2)
    assert first.key == "a"
    assert first.table["id"].tolist() == ["x", "z"]
    assert [group.key for group in held.rest()] == ["b"]


def test_the_fullest_image_goes_when_too_many_objects_wait():
    from astroanomaly import Area

    blocks = Blocks(iter([(0, positions(1))]), [Area(np.array([1.0, 0.0, 0.0]), 2.0)] * 3)
    held = Gather(blocks, most_rows=5)
    for number in range(3):
        held.add("small", "image", {"id": np.array([f"s{number}"])}, 0.0, 0.0, 1.0)
    held.add("large", "image", {"id": np.array([f"l{k}" for k in range(4)])}, 0.0, 0.0, 1.0)
    assert [group.key for group in held.ready(1)] == ["large"]
    assert held.early == 1
    held.add("large", "image", {"id": np.array(["again"])}, 0.0, 0.0, 1.0)
    assert [group.key for group in held.rest()] == ["small", "large 2"]


def test_columns_that_some_parts_lack_are_masked_there():
    parts = [(np.array([1, 2]), 2), (None, 1), (np.ma.array([3, 4], mask=[True, False]), 2)]
    joined = gather._joined(parts)
    assert np.ma.getmaskarray(joined).tolist() == [False, False, True, True, False]
    assert np.ma.filled(np.ma.asarray(joined), 0).tolist() == [1, 2, 0, 0, 4]


def test_a_source_plans_a_table_at_once_and_partitions_as_they_are_taken(esa, rows, hats, tmp_path):
    """A plan of a table says its facts at once; that of partitions once its tasks are taken."""
    from astroanomaly import FetchConfig
    from astroanomaly.fetch import using

    source = EuclidSource()
    given = {"size": "16", "bands": ("VIS",), "id": "object_id", "via": "datalabs"}
    with using(FetchConfig(keep=str(tmp_path / "kept"))):
        plan = source.plan(Request(), build(source.Options, {**given, "catalog": hats}))
        assert not plan.facts
        assert sum(map(len, plan)) == len(rows)
        assert plan.facts
        assert source.plan(Request(), build(source.Options, {**given, "catalog": rows})).facts
