"""Objects of a cache as astropy sees them: those near a position, all of them as a table, and what a notebook shows."""

import base64
import html.parser
import io
import pickle
import shutil

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK5, ICRS, AltAz, SkyCoord
from astropy.table import Column, QTable
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from astroanomaly import AstroAnomalyError, Cache, Cutout
from astroanomaly.cache.picture_table import PictureTable
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.errors import CatalogError, ConfigError, UnknownObjectError
from astroanomaly.records import CutoutBlock, Layout, Task

HOSTILE = "<script>alert('x')</script>\"&é\x07"
# poles, the meridian, a pair a fraction of an arcsec apart, one without a position
PLACES = [
    (10.0, 20.0), (10.0, 20.0 + 0.4 / 3600), (10.1, 20.0), (0.0, 90.0), (120.0, 89.999), (359.9999, 0.0), (0.0001, 0.0),
    (180.0, -90.0), (190.0, -20.0), (np.nan, np.nan),
]  # fmt: skip


def make_cache(path, prefix="o", columns=None, places=PLACES, size=12, ids=None):
    n = len(places)
    rng = np.random.default_rng(3)
    ids = ids or [f"{prefix}{k}" for k in range(n)]
    images = rng.normal(5, 1, (n, 2, size, size)).astype(np.float32)
    ra, dec = np.array(places).T
    layout = Layout(("g", "r"), size, size, units=("nJy", ""))
    create_cache(path, layout, [Task("t")], {"source": "test"})
    with ShardWriter(path, layout) as writer:
        writer.begin(0, "t")
        writer.add(CutoutBlock(ids, images, ("g", "r"), ra=ra, dec=dec, columns=columns or {}, units=layout.units))
        writer.commit()
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    n = len(PLACES)
    columns = {
        "flux": Column(np.arange(n, dtype=float), unit="nJy", description="total flux"),
        "RA": np.full(n, 7.0),
        "kind": np.array([HOSTILE] * n),
    }
    ids = [HOSTILE, *(f"o{k}" for k in range(1, n))]
    return Cache.open(make_cache(tmp_path_factory.mktemp("near") / "c", columns=columns, ids=ids))


# ------------------------------------------------------------------------------------------------------------- near


def brute_force(cache, coord, radius):
    """Ids within a radius, the nearest first, by astropy."""
    ra, dec = cache.positions
    apart = np.nan_to_num(coord.icrs.separation(SkyCoord(ra, dec, unit="deg")).arcsec, nan=np.inf)
    order = np.argsort(apart, kind="stable")
    return [cache.ids[int(k)] for k in order if apart[k] <= radius.to_value("arcsec")]


@settings(max_examples=60)
@given(
    st.floats(0, 360), st.floats(-90, 90), st.sampled_from([0.5, 30, 3600, 90 * 3600, 180 * 3600]), st.integers(0, 9),
    st.booleans(),
)  # fmt: skip
def test_near_gives_what_astropy_separates_by_no_more(cache, lon, lat, radius, beside, galactic):
    place = PLACES[beside % 9]
    for coord in (SkyCoord(lon, lat, unit="deg"), SkyCoord(*place, unit="deg")):
        given_coord = coord.galactic if galactic else coord
        found = cache.near(given_coord, radius * u.arcsec)
        assert list(found["object_id"]) == brute_force(cache, given_coord, radius * u.arcsec)
        there = SkyCoord(found["ra"], found["dec"])
        np.testing.assert_allclose(found["separation"].to_value("arcsec"), coord.separation(there).arcsec, atol=1e-6)
        assert (np.diff(found["separation"].value) >= 0).all()


def test_near_several_positions_says_which_is_meant(cache):
    coords = SkyCoord([190, 10, 50], [-20, 20, 50], unit="deg")
    found = cache.near(coords, "1arcsec")
    assert found.colnames == ["coord_index", "object_id", "ra", "dec", "separation"]
    assert [(int(row["coord_index"]), str(row["object_id"])) for row in found] == [(0, "o8"), (1, HOSTILE), (1, "o1")]
    assert found["separation"].unit == u.arcsec
    np.testing.assert_allclose(found["separation"].value, [0, 0, 0.4], atol=1e-6)
    assert len(cache.near(coords[:0], 1 * u.deg)) == 0
    assert cache.near(coords[:1], 1 * u.deg).colnames == found.colnames


def test_near_takes_any_frame_and_text(cache):
    icrs = ICRS(190 * u.deg, -20 * u.deg)
    for coord in (icrs, icrs.transform_to(FK5()), SkyCoord(icrs).galactic, "190 -20", "12:40:00 -20:00:00"):
        assert list(cache.near(coord, 1 * u.arcsec)["object_id"]) == ["o8"]
        assert cache.near(coord, 1 * u.arcsec)["ra"].unit == u.deg


@pytest.mark.parametrize(
    "radius", [1, 1.0, "1", None, 1 * u.s, [1, 2] * u.arcsec, -1 * u.deg, np.nan * u.deg, 181 * u.deg]
)
def test_a_radius_without_a_unit_or_that_is_none_is_refused_in_words(cache, radius):
    with pytest.raises(ConfigError, match=r"radius.*expected|'1'.*expected"):
        cache.near(SkyCoord(1, 2, unit="deg"), radius)


@pytest.mark.parametrize(
    "coord",
    [
        None, 5, (10.0, 20.0), [10.0, 20.0], np.zeros(2), ICRS(), AltAz(1 * u.deg, 2 * u.deg),
        SkyCoord(np.nan, 2, unit="deg"), SkyCoord(np.ones((2, 2)), np.ones((2, 2)), unit="deg"),
    ],
)  # fmt: skip
def test_what_is_no_position_is_refused_in_words(cache, coord):
    with pytest.raises(ConfigError, match="coord"):
        cache.near(coord, 1 * u.arcsec)
    with pytest.raises(ConfigError, match=r"o1' is|'o1'"):
        cache.near("o1", 1 * u.arcsec)


@pytest.mark.parametrize("what", [5, None, SkyCoord(1, 2, unit="deg"), b"o1"])
def test_what_is_no_id_is_an_unknown_object(cache, what):
    with pytest.raises(UnknownObjectError, match="is no object id: expected text"):
        cache[what]


# ------------------------------------------------------------------------------------------------------------ table


def test_the_table_has_ids_positions_and_columns_with_units(cache):
    table = cache.table()
    assert type(table) is QTable
    assert table.colnames == ["object_id", "ra", "dec", "flux", "catalog_RA", "kind"]
    assert list(table["object_id"]) == list(cache.ids)
    assert (table["ra"].unit, table["flux"].unit) == (u.deg, u.nJy)
    assert table["flux"].info.description == "total flux"
    coords = SkyCoord.guess_from_table(cache.table("flux"))
    np.testing.assert_array_equal(coords.ra.deg, cache.positions[0])
    assert cache.table(["kind"]).colnames == ["object_id", "ra", "dec", "kind"]
    assert cache.table("flux").colnames == ["object_id", "ra", "dec", "flux"]
    assert cache.table(()).colnames == ["object_id", "ra", "dec"]


def test_the_table_can_be_written_and_read_back(cache, tmp_path):
    cache.table(["flux"]).write(tmp_path / "t.ecsv")
    again = QTable.read(tmp_path / "t.ecsv")
    assert again["flux"].unit == u.nJy
    assert list(again["object_id"])[1:] == list(cache.ids)[1:]


@pytest.mark.parametrize("columns", [["fluxx"], "fluxx", [5], 5])
def test_a_column_that_is_not_there_is_refused_in_words(cache, columns):
    with pytest.raises(CatalogError, match=r"flux|names of columns"):
        cache.table(columns)


def test_columns_of_caches_together_are_masked_where_missing_and_brought_to_one_unit(tmp_path):
    n = 3
    places = PLACES[:n]
    one = make_cache(
        tmp_path / "a", "a", {"flux": Column([1.0, 2, 3], unit="uJy"), "odd": Column([1, 2, 3], unit="mag")}, places
    )
    two = make_cache(tmp_path / "b", "b", {"flux": Column([500.0, 1, 2], unit="nJy"), "odd": [4, 5, 6]}, places)
    three = make_cache(tmp_path / "c", "c", {"note": np.array(["x", "y", "z"])}, places)
    cache = Cache.open(one, two, three)
    table = cache.table()
    np.testing.assert_allclose(table["flux"][:4].unmasked.to_value("uJy"), [1, 2, 3, 0.5])
    assert list(table["flux"].mask) == [False] * 6 + [True] * 3
    assert list(table["note"].mask) == [True] * 6 + [False] * 3
    assert table["odd"].unit is None
    assert "mag, none" in table["odd"].info.description
    some = cache.columns(["b0", "c0", "a2"])
    np.testing.assert_allclose(some["flux"][:1] * u.Unit(some["flux"].unit).to("uJy"), 0.5)
    assert list(some["flux"].mask) == [False, True, False]
    assert cache.columns(["c1"])["note"].tolist() == ["y"]


def test_a_cache_without_objects_has_an_empty_table(tmp_path):
    create_cache(tmp_path / "none", Layout(("g",), 4, 4), [Task("t")], {"source": "test"})
    cache = Cache.open(tmp_path / "none")
    assert len(cache.table()) == 0
    assert len(cache.near("1 2", "1deg")) == 0
    assert "<img" not in cache._repr_html_()


# ------------------------------------------------------------------------------------------------- what is shown


class Page(html.parser.HTMLParser):
    """Tags and text of a piece of HTML; images decoded."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.images = [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            source = dict(attrs)["src"]
            assert source.startswith("data:image/png;base64,")
            self.images.append(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))

    def handle_data(self, data):
        self.text += data


def test_a_cutout_shows_its_picture_id_position_and_bands(cache):
    cutout = cache[HOSTILE]
    page = Page(cutout._repr_html_())
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert "10.000000 +20.000000" in page.text
    assert "g [nJy], r" in page.text
    assert len(page.images) == 1
    picture = np.asarray(Image.open(io.BytesIO(cutout._repr_png_())))
    np.testing.assert_array_equal(picture, cache.pictures.rgb([HOSTILE])[0])
    assert repr(cache["o9"]) == "<Cutout 'o9', bands g, r, 12 x 12 pixels>"
    assert "unknown" in cache["o9"]._repr_html_()


def test_a_cutout_without_its_cache_is_shown_too(cache, sky, tmp_path):
    copied = pickle.loads(pickle.dumps(cache["o1"]))
    assert Image.open(io.BytesIO(copied._repr_png_())).size == (12, 12)
    turned = pickle.loads(pickle.dumps(Cache.open(sky[1])[Cache.open(sky[1]).ids[3]]))  # has a WCS
    assert len(np.unique(np.asarray(Image.open(io.BytesIO(turned._repr_png_()))))) > 10
    alone = Cutout("x", np.full((1, 3, 5), 7, np.uint8), ("grey",))
    assert Image.open(io.BytesIO(alone._repr_png_())).size == (5, 3)
    wide = Cutout("x", np.zeros((1, 1, 5000), np.float32), ("g",))
    assert max(Image.open(io.BytesIO(wide._repr_png_())).size) <= 1024
    made = Cache.open(shutil.copytree(cache.folders[0], tmp_path / "gone"))
    orphan = made["o2"]
    made.pictures.rgb = lambda ids: (_ for _ in ()).throw(AstroAnomalyError("gone"))
    assert Image.open(io.BytesIO(orphan._repr_png_())).size == (12, 12)


def test_a_cache_shows_facts_and_a_handful_of_pictures(cache):
    page = Page(cache._repr_html_())
    assert len(page.images) == 8
    assert "script" not in page.tags
    for fact in ("objects10", "g [nJy], r", "12 x 12 float32, flux", str(cache.folders[0])):
        assert fact in page.text
    assert len(repr(cache)) < 400


def test_a_table_of_objects_shows_pictures_and_is_a_qtable(cache):
    table = cache.near("10 20", "180deg")
    assert isinstance(table, QTable)
    page = Page(table._repr_html_())
    assert len(page.images) == len(table) == 9
    assert "script" not in page.tags
    assert HOSTILE in page.text
    for part in (table[:2], table[["object_id", "ra"]], table[[True, True] + [False] * 7], table.copy()):
        assert len(Page(part._repr_html_()).images) == len(part)
    assert "<img" not in table[["ra", "dec"]]._repr_html_()
    table["object_id"][1] = "nobody"
    assert len(Page(table._repr_html_()).images) == 8
    again = pickle.loads(pickle.dumps(table))
    assert list(again["object_id"]) == list(table["object_id"])
    assert again["ra"].unit == u.deg
    assert "<img" not in again._repr_html_()
    assert len(repr(table)) < 2000


def test_a_long_table_shows_a_page_of_pictures(tmp_path):
    cache = Cache.open(make_cache(tmp_path / "c", places=[(10 + k / 1000, 0.0) for k in range(60)]))
    page = Page(cache.near("10 0", "1deg")._repr_html_())
    assert len(page.images) == 50
    assert "10 more rows" in page.text


def test_a_table_is_written_in_figures_that_people_read():
    """Degrees to a millionth, other fractions to four digits, nothing where there is none."""
    table = QTable({"object_id": ["a", "b"], "ra": [313.1094729466451, np.nan] * u.deg, "count": [1, 23456789]})
    table["score"] = np.array([0.27597952, -3.0], np.float32)
    page = Page(PictureTable.of(table, lambda ids: [])._repr_html_())
    assert page.text == "2 objectsobject_idradegcountscorea313.10947310.276b23456789-3"
    assert Page(PictureTable.of(table[:1], lambda ids: [])._repr_html_()).text.startswith("1 objectobject_id")
