"""Areas of the sky, and the objects of tables, services and catalogues in partitions that lie in them."""

import re

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy_healpix import HEALPix
from mocpy import MOC

from astroanomaly import CatalogError, ConfigError, FetchConfig, FetchError, UnreadableError
from astroanomaly.config import build
from astroanomaly.fetch import using
from astroanomaly_plugins.shared import tap_objects
from astroanomaly_plugins.shared.blocks import read_blocks
from astroanomaly_plugins.shared.options import ArchiveOptions
from astroanomaly_plugins.shared.sky_area import read_area
from servers.tap import TapServer

RNG = np.random.default_rng(1)
N = 400
RA, DEC = 150 + RNG.uniform(-1, 1, N), 2 + RNG.uniform(-1, 1, N)
HERE = SkyCoord(RA, DEC, unit="deg")


@pytest.fixture
def net(tmp_path):
    with using(FetchConfig(first_wait_s=0.01, attempts=2, timeout_s=20, keep=str(tmp_path / "kept"))) as config:
        yield config


def table():
    made = Table({"objID": np.arange(N), "raMean": RA, "decMean": DEC, "rmag": np.linspace(18, 24, N)})
    made["objID"].meta["ucd"] = "meta.id;meta.main"
    made["raMean"].meta["ucd"], made["decMean"].meta["ucd"] = "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
    return made


def write_hats(folder, rows, order=6):
    """Write a catalogue as hats-import does: one Parquet file for each cell."""
    cells = HEALPix(nside=2**order, order="nested").lonlat_to_healpix(rows["ra"] * u.deg, rows["dec"] * u.deg)
    for cell in np.unique(cells).tolist():
        inside = folder / "dataset" / f"Norder={order}" / f"Dir={cell // 10000 * 10000}"
        inside.mkdir(parents=True, exist_ok=True)
        rows[cells == cell].write(inside / f"Npix={cell}.parquet")
    (folder / "hats.properties").write_text("hats_col_ra=ra\nhats_col_dec=dec\n")
    return folder


def taken(**options):
    """Ids of the objects that options name."""
    return [one for _, positions in read_blocks(build(ArchiveOptions, options)) for one in positions.ids.tolist()]


def test_a_cone_is_exact_also_at_the_pole():
    area = read_area("150 2", "20arcmin", None, None)
    apart = HERE.separation(SkyCoord(150, 2, unit="deg")).arcmin
    assert (area.inside(RA, DEC) == (apart <= 20)).all()
    ra, dec = RNG.uniform(0, 360, 100), RNG.uniform(88, 90, 100)
    polar = read_area("10 89.5", "1deg", None, None)
    apart = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(10, 89.5, unit="deg")).deg
    assert (polar.inside(ra, dec) == (apart <= 1)).all()
    assert not area.inside(np.array([np.nan, 150.0]), np.array([2.0, np.nan])).any()


def test_regions_are_those_of_ds9(tmp_path):
    """Circles and rings to the last bit, sides of polygons as great circles, what is excluded left out."""
    file = tmp_path / "a.reg"
    file.write_text(
        "# Region file format: DS9\nicrs\ncircle(150.3,2.2,12')\n-circle(150.3,2.2,6')\nannulus(149.5,1.5,5',10')\n"
        "polygon(149.2,2.2,149.6,2.2,149.6,2.8,149.2,2.8)\n"
    )
    area = read_area("", "", file, None)
    first = HERE.separation(SkyCoord(150.3, 2.2, unit="deg")).arcmin
    ring = HERE.separation(SkyCoord(149.5, 1.5, unit="deg")).arcmin
    box = (RA > 149.2) & (RA < 149.6) & (DEC > 2.2) & (DEC < 2.8)
    expected = ((first <= 12) & (first > 6)) | ((ring >= 5) & (ring <= 10)) | box
    differ = area.inside(RA, DEC) != expected
    assert expected.sum() > 20
    assert not differ.any() or (np.abs(DEC[differ] - 2.2) < 1e-3).all()  # a side of the polygon is no parallel
    galactic = tmp_path / "b.reg"
    place = SkyCoord(150, 2, unit="deg").galactic
    galactic.write_text(f"galactic\nellipse({place.l.deg},{place.b.deg},20',20',0)\n")
    found = read_area("", "", galactic, None).inside(RA, DEC)
    apart = HERE.separation(SkyCoord(150, 2, unit="deg")).arcmin
    assert (found == (apart <= 20)).mean() > 0.999


@pytest.mark.parametrize("form", ["fits", "json", "ascii"])
def test_a_coverage_map_is_read_in_its_three_forms(form, tmp_path):
    moc = MOC.from_cone(150 * u.deg, 2 * u.deg, radius=0.5 * u.deg, max_depth=9)
    moc.save(tmp_path / "m", form)
    area = read_area("", "", None, tmp_path / "m")
    inside = moc.contains_skycoords(HERE)
    assert 0 < inside.sum() < N
    assert (area.inside(RA, DEC) == inside).all()
    circles = np.zeros(N, bool)
    for patch in area.patches:
        circles |= HERE.separation(SkyCoord(patch.ra, patch.dec, unit="deg")).deg <= patch.radius
    assert circles[inside].all()  # what is asked for covers it


def test_the_footprint_of_a_session_is_a_map_that_is_read(tmp_path):
    from astroanomaly.tables.moc import disc_moc, write_moc

    write_moc(disc_moc(np.array([150.0]), np.array([2.0]), 0.5), tmp_path / "moc.fits")
    found = read_area("", "", None, tmp_path / "moc.fits").inside(RA, DEC)
    apart = HERE.separation(SkyCoord(150, 2, unit="deg")).deg
    assert found[apart < 0.2].all()
    assert not found[apart > 0.35].any()


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("icrs\npoint(150,2)\n", CatalogError, "has no area"),
        ("icrs\nline(150,2,151,2)\n", CatalogError, "has no area"),
        ("image\ncircle(10,10,3)\n", CatalogError, "in pixels"),
        ("icrs\ncircle(a,b,c)\n", UnreadableError, "cannot be read as a region file"),
        ("nothing", CatalogError, "holds 0 regions"),
    ],
)
def test_regions_that_are_no_area_are_refused(content, error, words, tmp_path):
    (tmp_path / "a.reg").write_text(content)
    with pytest.raises(error, match=words):
        read_area("", "", tmp_path / "a.reg", None)


@pytest.mark.parametrize("content", [b"SIMPLE  = nonsense", b'{"1": [99999]}', b"no map", b"{", b'{"99": [1]}', b""])
def test_a_map_that_is_none_is_refused(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises((UnreadableError, CatalogError), match="m "):
        read_area("", "", None, tmp_path / "m")
    with pytest.raises(UnreadableError, match="cannot be read"):
        read_area("", "", None, tmp_path / "missing")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cone": "1 2"}, "needs a radius"),
        ({"radius": "1deg"}, "belongs to --cone"),
        ({"catalog": "a.csv", "tap": "http://a/"}, "--catalog and --tap"),
        ({"tap": "http://a/"}, "either --table"),
        ({"tap": "http://a/", "table": "b", "adql": "c"}, "either --table"),
        ({"tap": "ftp://a/", "table": "b"}, "http or https"),
        ({"tap": "http://me:secret@a/", "table": "b"}, "would be stored"),
        ({"table": "b"}, "belongs to --tap"),
        ({"adql": "b"}, "--tap URL"),
        ({"tap": "http://a/", "table": "b"}, "without a part of it"),
        ({"tap": "http://a/", "table": "b; DROP", "cone": "1 2", "radius": "1deg"}, "expected the name of a table"),
        ({"tap": "http://a/", "table": "b", "frame": "galactic"}, "in ICRS degrees"),
        ({"tap": "http://a/", "table": "b", "unit": "hour"}, "in ICRS degrees"),
        ({"tap": "http://a/", "table": "b", "ra": "x"}, "given together"),
        ({}, "--tap URL"),
    ],
)
def test_what_contradicts_itself_is_refused(options, words, net):
    with pytest.raises(ConfigError, match=words) as caught:
        taken(**options)
    assert "secret" not in str(caught.value)


def test_the_rows_of_a_catalogue_in_an_area(tmp_path):
    table().write(tmp_path / "a.fits")
    apart = HERE.separation(SkyCoord(150, 2, unit="deg")).deg
    options = {"catalog": tmp_path / "a.fits", "cone": "150 2", "radius": "0.5deg", "id": "objID"}
    assert taken(**options) == [str(k) for k in np.flatnonzero(apart <= 0.5)]
    blocks = read_blocks(build(ArchiveOptions, options))
    assert f"{int((apart > 0.5).sum())} rows outside the area" in blocks.facts()[-1].text
    MOC.from_cone(150.3 * u.deg, 2 * u.deg, radius=0.5 * u.deg, max_depth=12).save(tmp_path / "m.fits", "fits")
    both = taken(**options, moc=tmp_path / "m.fits")
    assert 0 < len(both) < len(taken(**options))  # what both have in common
    with pytest.raises(CatalogError, match="none of the 400 objects lies in a cone of"):
        taken(**{**options, "cone": "10 2"})


# ------------------------------------------------------------------------------------------------------------ services


@pytest.mark.parametrize("limit", ["counted", "silent"])
def test_a_table_of_a_service_is_asked_for_in_parts_where_it_gives_few_rows(limit, net):
    apart = HERE.separation(SkyCoord(150, 2, unit="deg")).deg
    with TapServer({"survey.objects": table()}) as server:
        server.most_rows, server.silent = 20, limit == "silent"
        options = {"tap": server.address, "table": "survey.objects", "cone": "150 2", "radius": "0.6deg"}
        found = taken(**options)
        assert sorted(found, key=int) == [str(k) for k in np.flatnonzero(apart <= 0.6)]
        bright = taken(**options, where="rmag < 20 OR rmag > 23.9")
        rmag = table()["rmag"]
        assert sorted(bright, key=int) == [
            str(k) for k in np.flatnonzero((apart <= 0.6) & ((rmag < 20) | (rmag > 23.9)))
        ]
        asked = server.count()
        taken(**options)
        assert server.count() == asked  # what was answered is kept


def test_regions_that_overlap_give_an_object_once(net, tmp_path):
    (tmp_path / "a.reg").write_text("icrs\ncircle(150,2,30')\ncircle(150.2,2,30')\ncircle(149.2,1.4,10')\n")
    area = read_area("", "", tmp_path / "a.reg", None)
    with TapServer({"objects": table()}) as server:
        found = taken(tap=server.address, table="objects", region=tmp_path / "a.reg", carry=("rmag",))
    assert len(found) == len(set(found))
    assert sorted(found, key=int) == [str(k) for k in np.flatnonzero(area.inside(RA, DEC))]


def test_regions_that_adjoin_give_an_object_once_where_one_is_asked_for_in_parts(net, tmp_path):
    """Cells of the first reach into the second; objects on its very edge are not lost."""
    (tmp_path / "a.reg").write_text("icrs\ncircle(150,2,30')\ncircle(150.9,2,24')\n")
    rows = table()
    edge = SkyCoord(150, 2, unit="deg").directional_offset_by(np.linspace(0, 6, 12) * u.rad, 0.5 * u.deg)
    rows["raMean"][:12], rows["decMean"][:12] = edge.ra.deg, edge.dec.deg
    area = read_area("", "", tmp_path / "a.reg", None)
    with TapServer({"objects": rows}) as server:
        server.most_rows = 40
        found = taken(tap=server.address, table="objects", region=tmp_path / "a.reg")
    assert len(found) == len(set(found))
    assert sorted(found, key=int) == [str(k) for k in np.flatnonzero(area.inside(rows["raMean"], rows["decMean"]))]
    assert {str(k) for k in range(12)} <= set(found)


def test_parts_beyond_the_circle_are_not_asked_for_and_the_limit_of_a_service_is_learnt(net):
    asked = []

    class Counting(TapServer):
        def answer(self, request):
            asked.append(request.get("QUERY"))
            return super().answer(request)

    with Counting({"objects": table()}) as server:
        server.most_rows, server.silent = 40, True
        taken(tap=server.address, table="objects", cone="150 2", radius="0.6deg")
    circles = [
        query.partition("CIRCLE('ICRS', ")[2].partition(")")[0].split(", ") for query in asked if "CIRCLE" in query
    ]
    for ra, dec, radius in {tuple(map(float, one)) for one in circles}:
        assert SkyCoord(ra, dec, unit="deg").separation(SkyCoord(150, 2, unit="deg")).deg <= 0.6 + radius
    asked.clear()
    rng = np.random.default_rng(2)
    dense = Table(
        {"id": np.arange(150), "ra": 150 + rng.uniform(-0.02, 0.02, 150), "dec": 2 + rng.uniform(-0.02, 0.02, 150)}
    )
    with Counting({"objects": dense}) as server:
        server.most_rows, server.silent = 30, True
        found = taken(tap=server.address, table="objects", cone="150 2", radius="0.5deg", ra="ra", dec="dec", id="id")
    assert len(found) == len(set(found)) == 150
    counts, rows = (
        [query for query in asked if ("COUNT(*)" in query) == counted and "CIRCLE" in query]
        for counted in (True, False)
    )
    assert len(rows) < len(counts) - 3  # of dense parts the rows are not asked for in vain


def test_tables_of_many_columns_are_asked_for_in_parts_and_rows_in_all_are_bounded(net, monkeypatch):
    wide = table()
    for k in range(36):
        wide[f"c{k}"] = np.arange(N)
    asked = []
    monkeypatch.setattr(tap_objects, "_MOST_BYTES", 64 * 40 * 50)  # 50 rows of 40 columns

    class Counting(TapServer):
        def answer(self, request):
            answer = super().answer(request)
            asked.append(answer.body.count(b"<TR>"))
            return answer

    options = {"table": "objects", "cone": "150 2", "radius": "0.6deg"}
    with Counting({"objects": wide}) as server:
        found = taken(tap=server.address, **options)
    assert len(found) == len(set(found)) == (HERE.separation(SkyCoord(150, 2, unit="deg")).deg <= 0.6).sum() > 50
    assert max(asked) <= 50
    monkeypatch.setattr(tap_objects, "_MOST_ROWS_IN_ALL", 60)
    with TapServer({"objects": wide}) as server, pytest.raises(CatalogError, match=r"more than 60 rows.*HATS"):
        taken(tap=server.address, **options)


def test_objects_of_a_query_and_answers_that_are_cut_short(net):
    with TapServer({"objects": table()}) as server:
        adql = "SELECT objID, raMean AS ra, decMean AS dec FROM objects WHERE rmag < 20"
        options = {"tap": server.address, "adql": adql, "id": "objID"}
        found = taken(**options)
        assert found == [str(k) for k in np.flatnonzero(table()["rmag"] < 20)]
        inside = taken(**options, cone="150 2", radius="1deg")
        assert 0 < len(inside) < len(found)
        with pytest.raises(FetchError, match="no such table: albedo"):
            taken(tap=server.address, adql="SELECT * FROM albedo")
        with pytest.raises(CatalogError, match="gives no object"):
            taken(**{**options, "adql": adql + " AND rmag > 21"})
        with pytest.raises(CatalogError, match="has no table 'nothing'"):
            taken(tap=server.address, table="nothing", cone="150 2", radius="1deg")
        with pytest.raises(CatalogError, match="has no object in a cone of"):
            taken(tap=server.address, table="objects", cone="10 2", radius="1deg")
    with TapServer({"objects": table()}) as server:
        server.most_rows = 3
        with pytest.raises(FetchError, match="no more than 3 rows"):
            taken(tap=server.address, adql=adql + " ")


def test_a_service_that_gives_less_than_it_counts_even_of_one_place_is_an_error(net):
    same = Table({"id": np.arange(30), "ra": np.full(30, 150.0), "dec": np.full(30, 2.0)})
    with TapServer({"objects": same}) as server:
        server.most_rows = server.most_rows = 20
        with pytest.raises(FetchError, match="counts 30 and gave 20"):
            taken(tap=server.address, table="objects", cone="150 2", radius="1deg", ra="ra", dec="dec", id="id")


# ---------------------------------------------------------------------------------------------------------------- HATS


def test_hats_is_read_partition_by_partition(tmp_path):
    rows = Table({"name": [f"o{k}" for k in range(N)], "ra": RA, "dec": DEC, "mag": np.linspace(18, 24, N)})
    folder = write_hats(tmp_path / "hats", rows)
    blocks = read_blocks(build(ArchiveOptions, {"catalog": folder, "carry": ("mag",)}))
    assert not blocks.whole
    parts = [(part, positions) for part, positions in blocks]
    assert [part for part, _ in parts] == sorted(part for part, _ in parts)
    assert len(parts) > 5
    assert all(list(positions.columns) == ["mag"] for _, positions in parts)
    assert sorted(one for _, positions in parts for one in positions.ids) == sorted(rows["name"])
    assert blocks.total == N
    apart = HERE.separation(SkyCoord(150, 2, unit="deg")).deg
    cone = taken(catalog=folder, cone="150 2", radius="0.3deg")
    assert sorted(cone) == sorted(rows["name"][apart <= 0.3])
    for file in folder.rglob("*.parquet"):
        (first,) = Table.read(file)[:1]
        if SkyCoord(first["ra"], first["dec"], unit="deg").separation(SkyCoord(150, 2, unit="deg")).deg > 1.3:
            file.write_bytes(b"PAR1 damaged")
            break
    assert sorted(taken(catalog=folder, cone="150 2", radius="0.3deg")) == sorted(cone)  # it is not opened
    with pytest.raises(CatalogError, match="has no row in a cone"):
        taken(catalog=folder, cone="10 2", radius="0.3deg")


def test_columns_that_not_every_partition_of_hats_has_are_left_out_and_said(tmp_path):
    rows = Table({"name": [f"o{k}" for k in range(N)], "ra": RA, "dec": DEC, "mag": np.linspace(18, 24, N)})
    folder = write_hats(tmp_path / "hats", rows)
    files = sorted(folder.rglob("*.parquet"))
    for file, change in ((files[1], "add"), (files[-1], "remove")):
        part = Table.read(file)
        if change == "add":
            part["extra"] = 1.0
        else:
            part.remove_column("mag")
        part.write(file, overwrite=True)
    blocks = read_blocks(build(ArchiveOptions, {"catalog": folder, "carry": ("*",)}))
    columns = {tuple(positions.columns) for _, positions in blocks}
    assert blocks.total == N
    assert columns == {("name", "ra", "dec")}
    (said,) = [fact.text for fact in blocks.facts() if fact.name == "uneven columns"]
    assert said == "2 of the catalogue, which not all of its partitions have: extra, mag"
    with pytest.raises(UnreadableError, match="has no column 'mag', which other partitions have"):
        taken(catalog=folder, carry=("mag",))


def test_rows_outside_the_area_are_counted_from_the_first_block_on(tmp_path):
    rows = Table({"name": ["a", "b", "c"], "ra": [150.0, 150.01, 150.02], "dec": [2.0, 2.0, 2.0]})
    folder = write_hats(tmp_path / "hats", rows, order=0)
    blocks = read_blocks(build(ArchiveOptions, {"catalog": folder, "cone": "150 2", "radius": "30arcsec"}))
    assert [one for _, block in blocks for one in block.ids] == ["a"]
    assert "2 rows outside the area" in blocks.facts()[-1].text


def test_rows_without_ids_are_numbered_on_and_doubled_ids_are_refused(tmp_path):
    rows = Table({"ra": RA, "dec": DEC})
    found = taken(catalog=write_hats(tmp_path / "plain", rows))
    assert len(found) == len(set(found)) == N
    assert all(re.fullmatch(r"row-6-\d+-\d{6}", one) for one in found)
    apart = HERE.separation(SkyCoord(150, 2, unit="deg")).deg
    near = taken(catalog=tmp_path / "plain", cone="150 2", radius="0.5deg")
    assert len(near) == (apart <= 0.5).sum()
    assert set(near) < set(found)
    whole, part = (
        {
            one: (ra, dec)
            for _, block in read_blocks(build(ArchiveOptions, {"catalog": tmp_path / "plain", **area}))
            for one, ra, dec in zip(block.ids.tolist(), block.ra, block.dec, strict=True)
        }
        for area in ({}, {"cone": "150 2", "radius": "0.5deg"})
    )
    assert part.items() <= whole.items()  # an object has one name, whatever the area
    rows["name"] = [f"o{k}" for k in range(N)]
    rows["name"][np.argmax(RA)] = rows["name"][np.argmin(RA)]
    with pytest.raises(CatalogError, match="occurs in several partitions"):
        taken(catalog=write_hats(tmp_path / "doubled", rows))
