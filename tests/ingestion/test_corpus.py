"""Whatever astronomers have: nothing disappears, positions are right, and no file gives a traceback."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from astroanomaly import AstroAnomalyError, CutoutBlock, Failure, Request
from astroanomaly.config import build
from astroanomaly_plugins.arrays.source import ArraySource
from astroanomaly_plugins.fits import FitsSource
from astroanomaly_plugins.images.source import PictureSource
from corpus import FITS, PICTURES, header, pixels

CASES = {name: (FitsSource(), *case) for name, case in FITS.items()}
CASES |= {name: (PictureSource(), *case) for name, case in PICTURES.items()}


def ingested(source, place, **options):
    """Cut everything in this process; return facts, cutouts by id and failures by id."""
    planned = source.plan(Request((str(place),)), build(source.Options, options))
    cutouts, failures = {}, {}
    for task in planned:
        for item in source.read(task):
            if isinstance(item, Failure):
                failures[item.object_id] = item
                continue
            assert isinstance(item, CutoutBlock)
            for k, object_id in enumerate(item.ids):
                cutouts[object_id] = item.take(np.array([k]))
    return {fact.name: fact for fact in planned.facts}, cutouts, failures


def nothing_disappears(facts, cutouts, failures, place):
    files = facts["files"].value
    parts = sum(number for name, number in files.items() if name != "found")
    assert files["found"] == parts, files
    assert facts["objects"].value["total"] == len(cutouts) + len(failures)
    if place.is_dir():
        assert files["found"] == sum(path.is_file() or path.is_symlink() for path in place.rglob("*"))


@pytest.mark.parametrize("name", CASES)
def test_each_kind_is_read_or_refused_with_its_name(tmp_path, name):
    source, write, inside, cut, failed = CASES[name]
    write(tmp_path)
    place = tmp_path / inside
    if cut is None:
        with pytest.raises(AstroAnomalyError) as caught:
            ingested(source, place)
        assert str(tmp_path) in str(caught.value) or "--" in str(caught.value)
        return
    facts, cutouts, failures = ingested(source, place)
    assert (len(cutouts), len(failures)) == (cut, failed)
    nothing_disappears(facts, cutouts, failures, place)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_in_any_mixture_found_is_cut_and_failed_and_left_out(draw):
    table = draw.draw(st.sampled_from([FITS, PICTURES]))
    loose = {name: case for name, case in table.items() if case[1] == "." and name not in ("hdf5 of jpeg",)}
    names = draw.draw(st.lists(st.sampled_from(sorted(loose)), min_size=1, max_size=6))
    source = FitsSource() if table is FITS else PictureSource()
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            place = Path(folder) / f"{number} {name}"
            place.mkdir()
            loose[name][0](place)
        (Path(folder) / "notes.txt").write_text("x")
        try:
            found = ingested(source, Path(folder))
        except AstroAnomalyError:
            return  # it says why, and nothing was cut
        nothing_disappears(*found, Path(folder))


FRAMES = {
    ("RA---", "DEC--"): ({}, {"RADESYS": "FK5", "EQUINOX": 1975.0}, {"RADESYS": "FK4", "EQUINOX": 1950.0}),
    ("GLON-", "GLAT-"): ({},),
    ("ELON-", "ELAT-"): ({},),
}


def sky_of(wcs, x, y):
    """Position by astropy; of ecliptic axes, which it takes for ICRS, by their frame (FITS paper II: mean ecliptic)."""
    if wcs.wcs.ctype[0].startswith("ELON"):
        lon, lat = wcs.pixel_to_world_values(x, y)
        return SkyCoord(lon, lat, unit="deg", frame="barycentricmeanecliptic").icrs
    return wcs.pixel_to_world(x, y).transform_to("icrs")


@settings(max_examples=25, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([(axes, more) for axes, every in FRAMES.items() for more in every]),
    st.sampled_from(["TAN", "SIN", "ZEA", "STG", "ARC", "ZPN", "CAR"]),
    st.floats(0, 359.99),
    st.floats(-75, 75),
    st.floats(0, 6.28),
    st.floats(0.05, 5),
)
def test_the_position_of_every_cutout_is_that_of_skycoord(frame, projection, lon, lat, turn, scale):
    (first, second), cards = frame
    lat = 0.0 if projection == "CAR" else lat
    made = header(lon, lat, (120, 140), scale, (first + projection, second + projection), **cards)
    c, s = np.cos(turn), np.sin(turn)
    cd = np.array([[-c, s], [s, c]]) * scale / 3600
    for card in [name for name in made if name.startswith(("PC", "CD"))]:
        del made[card]
    made.update({f"CD{i + 1}_{j + 1}": cd[i, j] for i in (0, 1) for j in (0, 1)})
    if projection == "ZPN":
        made["PV2_1"] = 1.0
    wcs = WCS(made)
    x, y = np.array([30.3, 70.6, 100.2]), np.array([40.4, 60.7, 90.1])
    right = sky_of(wcs, x, y)
    with tempfile.TemporaryDirectory() as folder:
        fits.writeto(Path(folder) / "x.fits", pixels(0, (120, 140)), made)
        Table({"id": ["a", "b", "c"], "ra": right.ra.deg, "dec": right.dec.deg}).write(Path(folder) / "cat.csv")
        _, cutouts, failures = ingested(
            FitsSource(), Path(folder) / "x.fits", catalog=Path(folder) / "cat.csv", size="16"
        )
    assert not failures
    for k, name in enumerate("abc"):
        block = cutouts[name]
        assert SkyCoord(block.ra[0], block.dec[0], unit="deg").separation(right[k]) < 1 * u.mas
        left, bottom = block.offsets[0]
        assert (left, bottom) == (np.ceil(x[k] - 8), np.ceil(y[k] - 8))
        there = sky_of(block.grid.wcs, left + 3.0, bottom + 4.0)
        assert there.separation(sky_of(wcs, left + 3.0, bottom + 4.0)) < 1 * u.mas


CARDS = {
    "CTYPE1": ["RA---TAN", "RA---SIP", "GLON-CAR", "FREQ", "", "HPLN-TAN", "RA---XXX", "XLON-TAN"],
    "CTYPE2": ["DEC--TAN", "DEC--TPV", "GLAT-CAR", "STOKES", "", "HPLT-TAN", "XLAT-TAN"],
    "CUNIT1": ["deg", "arcsec", "rad", "Hz", "furlong"],
    "CRVAL2": [0.0, 90.0, 1e30, -91.0],
    "CDELT1": [0.0, 1.0, -1e-9, 1e30],
    "BUNIT": ["", "Jy", "mag(AB)", "dex(Jy)", "10**(-7) erg", "counts/s", "???"],
    "RADESYS": ["ICRS", "J2000", "GAPPT", "FK4-NO-E", ""],
    "EQUINOX": [2000.0, 1950.0, -1.0, "J2000"],
    "FILTER": ["r", "CLEAR", "", "a b c", "g,r"],
    "BANDS": ["grz", "g,r", "x" * 60],
    "EXTTYPE": ["IMAGE", "MASK", "what"],
    "BSCALE": [0.0, 2.0, -1.0],
    "BZERO": [0.0, 1e10],
    "MAGZERO": ["25", 25.0, float(0)],
    "DATE-OBS": ["2020-01-01", "yesterday"],
    "WCSAXES": [2, 3],
    "A_ORDER": [2, 0],
    "PV1_1": [0.1],
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from(sorted(CARDS)), st.integers(0, 7), max_size=6),
    st.sampled_from([(24, 28), (3, 24, 28), (1, 1, 24, 28), (24, 1), (2, 3, 24, 28)]),
    st.sampled_from([np.float32, np.int16, np.uint8, np.float64]),
    st.booleans(),
)
def test_what_astropy_opens_is_cut_or_refused_in_words(cards, shape, dtype, in_extension):
    made = fits.Header()
    for name, number in cards.items():
        made[name] = CARDS[name][number % len(CARDS[name])]
    data = pixels(0, shape).astype(dtype)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(data)] if in_extension else [fits.PrimaryHDU(data)]
    hdus[-1].header.update(made)
    with tempfile.TemporaryDirectory() as folder:
        fits.HDUList(hdus).writeto(Path(folder) / "x.fits", output_verify="ignore")
        with fits.open(Path(folder) / "x.fits") as opened:
            assert len(opened) == len(hdus)
        try:
            found = ingested(FitsSource(), Path(folder))
        except AstroAnomalyError:
            return
        nothing_disappears(*found, Path(folder))


def test_extensions_may_be_objects(tmp_path):
    FITS["extensions on one grid"][0](tmp_path)
    facts, cutouts, failures = ingested(FitsSource(), tmp_path, extensions="objects")
    assert sorted(cutouts) == ["x.fits[A,1]", "x.fits[B,1]"]
    np.testing.assert_array_equal(cutouts["x.fits[B,1]"].images[0, 0], pixels(1))
    nothing_disappears(facts, cutouts, failures, tmp_path)


def test_a_folder_of_stacks_counts_its_files(tmp_path):
    np.save(tmp_path / "a.npy", pixels(0, (5, 16, 16)))
    (tmp_path / "notes.txt").write_text("x")
    nothing_disappears(*ingested(ArraySource(), tmp_path), tmp_path)
