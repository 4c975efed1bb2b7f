"""Sessions with spectra beside the image."""

import contextlib
import csv
import shutil

import numpy as np
import pytest
from astropy import units
from astropy.table import QTable, Table
from sklearn.metrics import average_precision_score

from astroanomaly import Session
from astroanomaly.cache import Cache
from astroanomaly.cli import main
from astroanomaly.errors import (
    CatalogError,
    ConfigError,
    DamagedError,
    SessionError,
    UnknownObjectError,
    UnreadableError,
)
from astroanomaly.learn.features.spectra import SpectrumGrid
from astroanomaly.session.blocks.kept_spectra import KeptSpectra
from astroanomaly.session.blocks.object_matching import ObjectMatcher
from astroanomaly.session.blocks.spectrum_reading import SpectrumOnGrid, each_on_grid, grid_of
from spectrum_files import SDSS_LOG_WAVELENGTHS, desi_arms, simulated, write_desi, write_sdss


@pytest.fixture(scope="module")
def truth(sky):
    with sky[0].truth.open(newline="") as handle:
        return {row["object_id"]: row["class"] != "nominal" for row in csv.DictReader(handle)}


@pytest.fixture(scope="module")
def spectra(sky, truth, tmp_path_factory):
    """A folder of SDSS files, called as the objects, in which anomalies have a line that others have not."""
    folder = tmp_path_factory.mktemp("spectra")
    rng = np.random.default_rng(7)
    for object_id, odd in list(truth.items())[1:]:
        redshift = rng.uniform(0.05, 0.2)
        flux, weight = simulated(10**SDSS_LOG_WAVELENGTHS, rng, redshift=redshift, rare=10.0 * odd)
        write_sdss(folder / f"{object_id}.fits", SDSS_LOG_WAVELENGTHS, flux, weight, redshift=redshift)
    return folder


def labelled(session, truth, anomalies=3, nominal=12):
    for kind, count in ((True, anomalies), (False, nominal)):
        session.label([name for name in truth if truth[name] is kind][:count], "anomaly" if kind else "nominal")
    return session


def auprc(session, truth):
    ids, found = session.scores()
    known = set(session.labels.current())
    left = [k for k, name in enumerate(ids) if name not in known]
    return average_precision_score([truth[ids[k]] for k in left], -found[left, 0])


def test_spectra_take_part_are_kept_and_are_not_needed_afterwards(new_session, truth, spectra, tmp_path):
    files = shutil.copytree(spectra, tmp_path / "files")
    plain = labelled(new_session("plain", computed=True), truth)
    beside = new_session(
        "beside", computed=True, spectra={"sdss": files}, settings=plain.settings | {"blocks": {"redshift": "own"}}
    )
    shutil.rmtree(files)
    messages = "\n".join(beside.block_messages)
    assert "block sdss: 129 spectra from 3802 to 9118 Angstrom, in the rest frame" in messages
    assert f"nothing is known of 1 of 130 objects: {next(iter(truth))}" in messages
    labelled(beside, truth)
    for session in (plain, beside):
        session.train("active-search")
    assert auprc(beside, truth) > auprc(plain, truth) + 0.05
    assert set(beside.last_round.recipe["shares"]) == {"image", "sdss", "outliers"}
    assert not any("separates" in text for text in beside.last_round.recipe["messages"])
    again = Session.open(beside.path)
    object_id = list(truth)[5]
    table = again.spectrum(object_id)
    rng = np.random.default_rng(7)
    for _ in range(5):
        redshift = rng.uniform(0.05, 0.2)
        flux, _ = simulated(10**SDSS_LOG_WAVELENGTHS, rng, redshift=redshift, rare=10.0 * truth[object_id])
    assert table.meta["block"] == "sdss"
    assert table.meta["redshift"] == pytest.approx(redshift)
    assert str(table["flux"].unit) == "1e-17 erg / (Angstrom s cm2)"
    np.testing.assert_allclose(table["flux"].value.mean(), flux.mean(), rtol=2e-3)
    np.testing.assert_allclose(np.median(table["error"].value), 0.1 / (3800 / 2048) ** 0.5, rtol=0.1)
    with pytest.raises(SessionError, match="no spectrum of"):
        again.spectrum(next(iter(truth)))
    with pytest.raises(SessionError, match="no spectra 'desi' "):
        again.spectrum(object_id, "desi")
    with pytest.raises(UnknownObjectError):
        again.spectrum("nobody")
    with pytest.raises(SessionError, match="has no spectra: make a session"):
        plain.spectrum(object_id)
    beside.write_report(tmp_path / "r.html", ids=[object_id, next(iter(truth))], pages=True)
    page = (tmp_path / "r.html").read_text()
    assert page.count("<article") == 2
    assert page.count("<h3>Spectrum sdss, redshift") == page.count("class=spectrum") == 1
    assert beside.check().damaged == ()


def test_desi_is_matched_by_a_column_or_by_position_and_the_best_of_two_is_taken(new_session, truth, tmp_path):
    ids = list(truth)[:6]
    rng = np.random.default_rng(0)
    made = {
        arm: [simulated(wave, rng, noise=0.5 if k == 6 else 0.1) for k in range(8)] for arm, wave in desi_arms().items()
    }
    fluxes, weights = ({arm: np.array([one[k] for one in some]) for arm, some in made.items()} for k in (0, 1))
    plain = new_session("plain")
    ra, dec = (axis[plain.cache.rows(ids)] for axis in plain.cache.positions)
    places = [np.append(axis, [axis[0] + 1e-5, away]) for axis, away in ((ra, 1.0), (dec, 80.0))]
    path = tmp_path / "coadd-main-dark-1.fits"
    write_desi(path, 39627000000000000 + np.arange(8), *places, fluxes, weights)
    session = new_session("desi", spectra={"desi": str(tmp_path / "coadd-*.fits")})
    text = "\n".join(session.block_messages)
    assert "block desi: 6 spectra from 3600 to 9824 Angstrom, as observed" in text
    assert "1 of 8 spectra are of no object" in text
    assert "1 spectra more are of objects that have one" in text
    errors = [np.nanmedian(session.spectrum(name)["error"].value) for name in ids]
    assert max(errors) < 0.1


def test_what_spectra_are_called_may_stand_in_the_catalogue(new_session, sky, tmp_path, truth):
    from astroanomaly.ingestion.ingest import ingest

    catalog = Table.read(sky[0].catalog)
    catalog["spec_file"] = [f"spec-{k:04d}.fits" for k in range(len(catalog))]
    catalog["spec_file"][13] = catalog["spec_file"][1]  # two cutouts of one object
    catalog["zspec"] = 0.1
    catalog.write(tmp_path / "named.fits")
    ingest("fits", sky[0].mosaics, out=tmp_path / "named", catalog=tmp_path / "named.fits", size="48")
    rng = np.random.default_rng(0)
    for k in range(12):
        flux, weight = simulated(10**SDSS_LOG_WAVELENGTHS, rng)
        write_sdss(tmp_path / f"spec-{k:04d}.fits", SDSS_LOG_WAVELENGTHS, flux, weight)
    with pytest.raises(CatalogError, match="takes a catalogue column"):
        Session.create(tmp_path / "no", tmp_path / "named", spectra={"s": str(tmp_path / "spec-*.fits")})
    made = Session.create(
        tmp_path / "yes",
        tmp_path / "named",
        spectra={"s:spec_file": str(tmp_path / "spec-*.fits")},
        settings={"blocks": {"redshift": "zspec"}},
    )
    assert "13 spectra" in made.block_messages[0]
    twins = [made.spectrum(str(catalog["object_id"][k])) for k in (1, 13)]
    np.testing.assert_array_equal(twins[0]["flux"], twins[1]["flux"])
    assert made.spectrum(str(catalog["object_id"][0])).meta["redshift"] == pytest.approx(0.1)
    assert truth


def test_a_name_may_be_of_several_objects_and_not_of_one_that_is_elsewhere(sky, tmp_path):
    cache = Cache.open(sky[1])
    ra, dec = cache.positions

    def spectrum(name, ra=np.nan, dec=np.nan):
        return SpectrumOnGrid((name,), ra, dec, np.nan, "", np.ones((2, 4), np.float32), 1.0)

    by_id = ObjectMatcher(cache, "", "s", "spectrum", "spectra")
    near, far = (spectrum(cache.ids[3], ra[3], dec[3] + arcsec / 3600) for arcsec in (5, 15))
    away = int(np.argmax(np.abs(dec - dec[3])))
    other = spectrum(cache.ids[3], ra[away], dec[away])
    assert by_id.find([spectrum(cache.ids[3]), near, far, other]) == [
        [cache.ids[3]],
        [cache.ids[3]],
        [],
        [cache.ids[away]],
    ]
    assert by_id.apart == 2
    kept = KeptSpectra(SpectrumGrid(4000, 5000, 4), "s", tmp_path)
    with contextlib.closing(kept):
        kept.take([near, spectrum("both")], [[cache.ids[3]], cache.ids[3:5]])
        assert (kept.seen, kept.matched, kept.repeated, list(kept.rows)) == (2, 2, 1, cache.ids[3:5])


def test_the_grid_covers_the_first_spectra_of_files_where_they_count(tmp_path):
    rng = np.random.default_rng(0)
    wavelength = 10**SDSS_LOG_WAVELENGTHS
    flux, weight = (np.array(one) for one in zip(*(simulated(wavelength, rng) for _ in range(2)), strict=True))
    for row, (low, high) in zip(weight, [(5000, 6000), (4000, 8000)], strict=True):
        row[(wavelength < low) | (wavelength > high)] = 0
    waves = np.array([wavelength, wavelength])
    Table({"object_id": ["a", "b"], "wave": waves, "flux": flux, "ivar": weight}).write(tmp_path / "both.fits")
    grid = grid_of([tmp_path / "both.fits"], "s")
    assert (grid.shortest, grid.longest) == pytest.approx((4000, 8000), rel=1e-3)
    Table({"wave": wavelength / 1e4, "flux": flux[0]}).write(tmp_path / "short.fits")
    with pytest.raises(ConfigError, match=r"block s: .*the shortest in .*short\.fits, the longest in .*both\.fits"):
        grid_of([tmp_path / "both.fits", tmp_path / "short.fits"], "s")
    with pytest.raises(ConfigError, match="between 1 Angstrom and 1 mm: state the unit"):
        grid_of([tmp_path / "short.fits"], "s")


@pytest.mark.parametrize("bins", [600, 2400])  # coarser and finer than the pixels
def test_noise_without_errors_is_that_of_the_pixels(tmp_path, bins):
    rng = np.random.default_rng(0)
    wavelength = np.geomspace(4000, 8000, 1200)
    Table({"wave": wavelength, "flux": 3 + rng.normal(0, 0.2, 1200)}).write(tmp_path / "a.fits")
    ((found,),) = each_on_grid(SpectrumGrid(4010, 7980, bins), [tmp_path / "a.fits"])
    assert np.nanmedian(found.values[1]) == pytest.approx(0.2 * (bins / 1200) ** 0.5, rel=0.1)


def test_spectra_without_redshift_are_counted(new_session, truth, tmp_path, tiny):
    rng = np.random.default_rng(0)
    for k, object_id in enumerate(list(truth)[:24]):
        flux, weight = simulated(10**SDSS_LOG_WAVELENGTHS, rng)
        if k < 2:
            weight[300:] = 0
        redshift = 0.1 if k < 21 else np.nan
        write_sdss(tmp_path / f"{object_id}.fits", SDSS_LOG_WAVELENGTHS, flux, weight, redshift=redshift)
    session = new_session(spectra={"s": tmp_path / "*.fits"}, settings=tiny | {"blocks": {"redshift": "own"}})
    text = "\n".join(session.block_messages)
    assert "3 of 24 spectra have no redshift" in text
    assert "2 of 24 spectra cover less than a tenth" in text


def test_what_cannot_be_read_is_left_out_by_name_and_all_of_it_is_refused(new_session, spectra, tmp_path):
    files = shutil.copytree(spectra, tmp_path / "files")
    names = sorted(files.iterdir())
    names[3].write_bytes(names[3].read_bytes()[:4000])
    names[4].write_bytes(b"SIMPLE  =" + b"\xff" * 100)
    session = new_session("some", spectra={"sdss": files})
    text = "\n".join(session.block_messages)
    assert "2 of 129 files cannot be read" in text
    assert names[3].name in text
    for file in names[5:]:
        file.unlink()
    with pytest.raises(UnreadableError, match=r"block sdss: .*\.fits"):
        new_session("none", spectra={"sdss": [names[3], names[4]]})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"image": "x"}, ConfigError, "the block 'image'"),
        ({"together": "x"}, ConfigError, "the block 'together'"),
        ({"s": "/nowhere/at.fits"}, UnreadableError, "at.fits"),
        ({"s": "/nowhere/*.fits"}, UnreadableError, "no file is called as in"),
        ({"s": []}, ConfigError, "nothing was given"),
        ({"s": 5}, ConfigError, "int"),
    ],
)
def test_what_cannot_be_is_refused_and_no_session_is_left(new_session, tmp_path, given, error, says):
    with pytest.raises(error, match=says):
        new_session("refused", spectra=given)
    assert not (tmp_path / "refused").exists()


def test_redshifts_that_nobody_has_are_refused(new_session, spectra, tiny):
    with pytest.raises(CatalogError, match="no column 'zspec'"):
        new_session("a", spectra={"s": spectra}, settings=tiny | {"blocks": {"redshift": "zspec"}})


def test_damage_is_found_and_said(new_session, spectra, truth):
    session = new_session(spectra={"sdss": spectra})
    path = session.path / "blocks" / "sdss" / "spectra.npy"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    (damage,) = Session.open(session.path).check().damaged
    assert damage.path == path
    assert "start a new session with the block" in damage.way_out
    path.write_bytes(content[:9000])
    with pytest.raises(DamagedError, match=r"spectra\.npy"):
        Session.open(session.path).spectrum(list(truth)[5])


def test_the_command_takes_them(sky, spectra, tmp_path, capsys):
    words = ["init", str(tmp_path / "s"), "--cache", str(sky[1]), "--spectra", f"sdss={spectra}"]
    assert main(words) == 0
    assert "block sdss: 129 spectra" in capsys.readouterr().out
    assert main([*words[:-1], "sdss"]) != 0
    assert "expected NAME=FILE" in capsys.readouterr().err


def test_objects_are_compared_by_image_by_spectrum_or_by_both(new_session, spectra, truth):
    session = new_session(computed=True, spectra={"sdss": spectra})
    odd = [name for name in truth if truth[name]]
    first = next(iter(truth))
    found = {by: session.similar(odd[1], 8, by=by) for by in ("image", "sdss", "together")}
    for by, table in found.items():
        assert odd[1] not in set(table["object_id"])
        assert (np.diff(table["distance"]) >= 0).all()
        points, own = session.points(list(table["object_id"]), by=by), session.points([odd[1]], by=by)
        np.testing.assert_allclose(table["distance"], np.linalg.norm(points - own, axis=1), rtol=1e-3, atol=1e-3)
    assert list(found["image"]["object_id"]) != list(found["sdss"]["object_id"])
    assert first not in session.similar(odd[1], 130, by="sdss")["object_id"]
    with pytest.raises(ConfigError, match="nothing is known of"):
        session.similar(first, by="sdss")
    with pytest.raises(ConfigError, match=r"cannot be compared by 'sds'.*sdss"):
        session.similar(odd[1], by="sds")
    flat = session.feature_map(method="principal", by="sdss")
    assert sorted(flat["object_id"]) == sorted(list(truth)[1:])


def test_fluxes_without_a_unit_are_taken_like_the_others_and_counted(new_session, truth, tmp_path):
    wave, ids = np.linspace(4000.0, 7000.0, 300), list(truth)[:4]
    for number, name in enumerate(ids):
        flux = np.random.default_rng(number).normal(5, 1, 300)
        columns = {"wavelength": wave * units.AA, "flux": flux if number == 2 else flux * units.Jy}
        QTable(columns).write(tmp_path / f"{name}.ecsv")
    session = new_session("mixed", spectra={"mine": [tmp_path / f"{name}.ecsv" for name in ids]})
    said = "\n".join(session.block_messages)
    assert "block mine: 1 spectra state no unit of their flux, and are taken to be in Jy like the others" in said
    assert session.spectrum(ids[2])["flux"].unit == units.Jy
