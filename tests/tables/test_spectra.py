"""Spectra from files: SDSS, DESI, tables, other formats by specutils; what is no spectrum is refused."""

import gzip
import warnings

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from astroanomaly.errors import UnreadableError
from astroanomaly.tables.spectra import MOST_PIXELS, read_spectra
from spectrum_files import SDSS_LOG_WAVELENGTHS, desi_arms, simulated, write_desi, write_sdss

UNIT = "1e-17 erg / (Angstrom s cm2)"


@pytest.fixture
def one():
    rng = np.random.default_rng(1)
    wavelength = 10**SDSS_LOG_WAVELENGTHS
    return wavelength, *simulated(wavelength, rng)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_sdss(tmp_path, one, packed):
    wavelength, flux, weight = one
    weight[100:110] = 0
    flux[105] = np.nan
    path = tmp_path / "spec-4055-55359-0596.fits"
    write_sdss(path, SDSS_LOG_WAVELENGTHS, flux, weight, ra=150.1, dec=2.2, redshift=0.3)
    if packed:
        path, plain = path.with_suffix(".fits.gz"), path
        path.write_bytes(gzip.compress(plain.read_bytes()))
    (found,) = read_spectra(path)
    (piece,) = found.pieces
    names = (path.name, "spec-4055-55359-0596")
    assert (found.names, found.unit, found.has_errors) == (names, UNIT, True)
    assert (found.ra, found.dec) == (150.1, 2.2)
    assert found.redshift == pytest.approx(0.3)
    np.testing.assert_allclose(piece.wavelength, wavelength, rtol=1e-6)
    known = np.ones(len(flux), bool)
    known[100:110] = False
    np.testing.assert_array_equal(piece.weight > 0, known)
    np.testing.assert_allclose(piece.flux[known], flux[known], rtol=1e-6)


def test_a_file_of_desi_has_a_spectrum_for_each_target(tmp_path):
    rng = np.random.default_rng(2)
    made = {arm: [simulated(wave, rng) for _ in range(3)] for arm, wave in desi_arms().items()}
    fluxes, weights = ({arm: np.array([one[k] for one in some]) for arm, some in made.items()} for k in (0, 1))
    ids = [39627000000000001, 39627000000000002, 39627000000000003]
    write_desi(tmp_path / "coadd-main-dark-1.fits", ids, [10, 11, 12], [1, 2, 3], fluxes, weights)
    found = list(read_spectra(tmp_path / "coadd-main-dark-1.fits"))
    assert [one.names for one in found] == [(str(name),) for name in ids]
    assert [(one.ra, one.dec) for one in found] == [(10, 1), (11, 2), (12, 3)]
    assert {one.unit for one in found} == {UNIT}
    for row, one in enumerate(found):
        for piece, (arm, wavelength) in zip(one.pieces, desi_arms().items(), strict=True):
            np.testing.assert_allclose(piece.wavelength, wavelength)
            np.testing.assert_allclose(piece.flux, np.float32(fluxes[arm][row]))


def test_the_files_are_those_that_specutils_takes_for_sdss_and_desi(tmp_path, one):
    specutils = pytest.importorskip("specutils")
    _, flux, weight = one
    write_sdss(tmp_path / "spec-4055-55359-0596.fits", SDSS_LOG_WAVELENGTHS, flux, weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = specutils.Spectrum.read(tmp_path / "spec-4055-55359-0596.fits")
    (ours,) = read_spectra(tmp_path / "spec-4055-55359-0596.fits")
    np.testing.assert_allclose(theirs.spectral_axis.to_value("Angstrom"), ours.pieces[0].wavelength, rtol=1e-6)
    np.testing.assert_allclose(theirs.flux.value, ours.pieces[0].flux)
    assert theirs.flux.unit == units.Unit(ours.unit)
    assert theirs.mask.all()  # by the notes of and_mask, which are no reason to drop a pixel
    assert (ours.pieces[0].weight > 0).all()
    made = {arm: simulated(wave, np.random.default_rng(2)) for arm, wave in desi_arms().items()}
    fluxes, weights = ({arm: one[k][None] for arm, one in made.items()} for k in (0, 1))
    write_desi(tmp_path / "coadd-main-dark-1.fits", [5], [10], [1], fluxes, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arms = specutils.SpectrumList.read(tmp_path / "coadd-main-dark-1.fits")
    (ours,) = read_spectra(tmp_path / "coadd-main-dark-1.fits")
    for arm, piece in zip(arms, ours.pieces, strict=True):
        np.testing.assert_allclose(arm.flux.value[0], piece.flux)
        assert arm.flux.unit == units.Unit(ours.unit)


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "csv", "vot"])
def test_a_table_with_a_row_for_each_wavelength(tmp_path, one, suffix):
    wavelength, flux, weight = one
    order = np.random.default_rng(0).permutation(len(flux))
    table = Table({"Wavelength": wavelength[order] / 10, "Flux": flux[order], "error": weight[order] ** -0.5})
    if suffix != "csv":
        table["Wavelength"].unit = "nm"
        table["Flux"].unit = "mJy"
    else:
        table["Wavelength"] *= 10
    kinds = {"ecsv": "ascii.ecsv", "csv": "ascii.csv", "vot": "votable", "fits": "fits"}
    table.write(tmp_path / f"galaxy.{suffix}", format=kinds[suffix])
    (found,) = read_spectra(tmp_path / f"galaxy.{suffix}")
    np.testing.assert_allclose(found.pieces[0].wavelength, wavelength, rtol=1e-12)
    np.testing.assert_allclose(found.pieces[0].flux, flux, rtol=1e-12)
    np.testing.assert_allclose(found.pieces[0].weight, weight, rtol=1e-9)
    assert found.unit == ("" if suffix == "csv" else "mJy")


@pytest.mark.parametrize("suffix", ["csv", "fits"])
@pytest.mark.parametrize(("name", "factor"), [("wavelength (nm)", 10), ("Wave [um]", 1e4), ("lambda (Angstroms)", 1)])
def test_the_unit_of_wavelengths_may_stand_in_their_name(tmp_path, one, suffix, name, factor):
    wavelength, flux, _ = one
    path = tmp_path / f"galaxy.{suffix}"
    table = Table({name: wavelength / factor, "flux (mJy)": flux})
    table.write(path, format={"csv": "ascii.csv", "fits": "fits"}[suffix])
    (found,) = read_spectra(path)
    np.testing.assert_allclose(found.pieces[0].wavelength, wavelength, rtol=1e-9)
    assert found.unit == "mJy"


@pytest.mark.parametrize("unit", ["Ang", "Angstroms", "A", "angstrom"])
def test_ways_to_write_angstrom(tmp_path, one, unit):
    wavelength, flux, _ = one
    columns = [fits.Column("wavelength", "D", array=wavelength, unit=unit), fits.Column("flux", "D", array=flux)]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "a.fits")
    (found,) = read_spectra(tmp_path / "a.fits")
    np.testing.assert_allclose(found.pieces[0].wavelength, wavelength)


def test_positions_have_units_and_frames_or_stand_in_the_header(tmp_path, one):
    wavelength, flux, _ = one
    vectors = {"wave": np.array([wavelength, wavelength]), "flux": np.array([flux, flux])}
    radians = Table({"object_id": ["a", "b"], "ra": np.radians([15, 30]), "dec": np.radians([3, 4])} | vectors)
    radians["ra"].unit = radians["dec"].unit = "rad"
    radians.write(tmp_path / "radians.fits")
    assert [(one.ra, one.dec) for one in read_spectra(tmp_path / "radians.fits")] == [
        pytest.approx(place) for place in ((15, 3), (30, 4))
    ]
    old = Table({"object_id": ["a", "b"], "ra": [150.0, 10.0], "dec": [2.0, 4.0]} | vectors)
    old.meta["RADESYS"] = "FK4"
    old.write(tmp_path / "old.fits")
    place = SkyCoord(150, 2, unit="deg", frame="fk4").icrs
    found = next(read_spectra(tmp_path / "old.fits"))
    assert (found.ra, found.dec) == pytest.approx((place.ra.deg, place.dec.deg))
    primary = fits.PrimaryHDU()
    primary.header.update({"RA": 150.5, "DEC": 2.5})
    single = fits.BinTableHDU(Table({name: values[:1] for name, values in vectors.items()}))
    fits.HDUList([primary, single]).writeto(tmp_path / "single.fits")
    (found,) = read_spectra(tmp_path / "single.fits")
    assert (found.ra, found.dec) == (150.5, 2.5)


def test_a_redshift_that_sdss_warns_of_is_none(tmp_path, one):
    _, flux, weight = one
    for warned in (0, 4):
        path = tmp_path / f"{warned}.fits"
        write_sdss(path, SDSS_LOG_WAVELENGTHS, flux, weight, redshift=0.3)
        with fits.open(path) as hdus:
            columns = [fits.Column("Z", "E", array=[0.3]), fits.Column("ZWARNING", "J", array=[warned])]
            hdus["SPECOBJ"] = fits.BinTableHDU.from_columns(columns, name="SPECOBJ")
            hdus.writeto(path, overwrite=True)
        (found,) = read_spectra(path)
        assert found.redshift == pytest.approx(np.nan if warned else 0.3, nan_ok=True)


def test_a_table_with_a_row_for_each_object(tmp_path, one):
    wavelength, flux, _ = one
    rows = {"object_id": ["a", "b"], "ra": [1.0, 2.0], "dec": [3.0, 4.0], "z": [0.1, np.nan]}
    Table(rows | {"wave": np.array([wavelength, wavelength]), "flux": np.array([flux, 2 * flux])}).write(
        tmp_path / "both.fits"
    )
    first, second = read_spectra(tmp_path / "both.fits")
    assert (first.names, first.ra, first.dec, first.redshift) == (("a",), 1.0, 3.0, 0.1)
    assert (second.names, first.has_errors) == (("b",), False)
    assert np.isnan(second.redshift)
    np.testing.assert_allclose(second.pieces[0].flux, 2 * flux)


def test_another_format_is_read_by_specutils(tmp_path, one):
    specutils = pytest.importorskip("specutils")
    flux = one[1]
    path = tmp_path / "other.fits"
    header = {"CTYPE1": "WAVE", "CUNIT1": "Angstrom", "CRVAL1": 4000.0, "CDELT1": 1.0, "CRPIX1": 1.0, "BUNIT": "Jy"}
    header |= {"RA": 150.25, "DEC": -2.5}
    hdu = fits.PrimaryHDU(flux)
    hdu.header.update(header)
    hdu.writeto(path)
    assert specutils.__version__
    (found,) = read_spectra(path)
    np.testing.assert_allclose(found.pieces[0].wavelength, 4000 + np.arange(len(flux)), rtol=1e-6)
    np.testing.assert_allclose(found.pieces[0].flux, flux)
    assert (found.unit, found.has_errors, found.ra, found.dec) == ("Jy", False, 150.25, -2.5)


def test_without_specutils_another_format_is_refused_with_the_way_out(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "specutils", None)
    fits.PrimaryHDU(np.zeros(100)).writeto(tmp_path / "other.fits")
    with pytest.raises(UnreadableError, match=r"pip install 'astroanomaly\[spectra\]'"):
        list(read_spectra(tmp_path / "other.fits"))


def bad(tmp_path, kind):
    path = tmp_path / "bad.fits"
    wavelength = np.linspace(4000, 5000, 100)
    if kind == "text":
        path.write_bytes(b"SIMPLE  =                    T" + b"x" * 5000)
    elif kind == "short":
        write_sdss(path, SDSS_LOG_WAVELENGTHS, *2 * [np.ones(len(SDSS_LOG_WAVELENGTHS))])
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "few":
        Table({"wavelength": wavelength[:5], "flux": wavelength[:5]}).write(path)
    elif kind == "many":
        Table({"wavelength": np.arange(1.0, MOST_PIXELS + 2), "flux": np.ones(MOST_PIXELS + 1)}).write(path)
    elif kind == "words":
        Table({"wavelength": wavelength, "flux": ["a"] * 100}).write(path)
    elif kind == "zero":
        Table({"wavelength": np.zeros(100), "flux": wavelength}).write(path)
    elif kind == "unit":
        table = Table({"wavelength": wavelength, "flux": wavelength})
        table["wavelength"].unit = "kg"
        table.write(path)
    elif kind == "varying":
        column = fits.Column("flux", "PE()", array=np.array([np.ones(3), np.ones(4)], dtype=object))
        wave = fits.Column("wavelength", "3E", array=np.ones((2, 3)))
        fits.BinTableHDU.from_columns([wave, column]).writeto(path)
    elif kind == "ids":
        Table({"wave": np.array([wavelength] * 2), "flux": np.array([wavelength] * 2)}).write(path)
    elif kind == "desi":
        zeros = {arm: np.zeros((3, len(wave))) for arm, wave in desi_arms().items()}
        write_desi(path, [1, 2], [0, 0], [0, 0], zeros, zeros)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("none", "no file"),
        ("text", "cannot be read"),
        ("short", "bad.fits"),
        ("few", "5 pixels"),
        ("many", "100001 pixels"),
        ("words", "holds no numbers"),
        ("zero", "0 different wavelengths"),
        ("unit", "unit of length"),
        ("varying", "varying length"),
        ("ids", "no column of ids"),
        ("desi", "a row for each target"),
    ],
)
def test_what_is_no_spectrum_is_refused_by_name(tmp_path, kind, says):
    with pytest.raises(UnreadableError, match=says) as caught:
        list(read_spectra(bad(tmp_path, kind)))
    assert "bad.fits" in str(caught.value)
