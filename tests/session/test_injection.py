"""Injections: what is added is what was asked for, the session stays as it is, brighter ones are found more often."""

import contextlib
import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astroanomaly import Cache, Session, figures, ingest
from astroanomaly.cli import main
from astroanomaly.errors import BandError, CacheError, ConfigError, SessionError, StorageError, UnreadableError
from astroanomaly.records import Cutout
from astroanomaly.session.injection.add_light import inject_into
from astroanomaly.session.injection.completeness import completeness_files, read_completeness
from astroanomaly.session.injection.efficiency import Axis, Efficiency
from astroanomaly.session.injection.hosts import measure
from astroanomaly.session.injection.inject import injected_blocks
from astroanomaly.session.injection.kinds import KINDS
from astroanomaly.session.injection.measured_psf import _look_at, measure_psf
from astroanomaly.session.injection.render import Psf, moffat, render
from astroanomaly.session.injection.request import Brightness, InjectionRequest

PSF = {"g": 2.8, "r": 2.5, "i": 2.4}  # of the simulated sky


@pytest.fixture(scope="module")
def trained(sky, tmp_path_factory):
    """A session on the small sky that knows a ring from a galaxy; nothing may change it."""
    from conftest import TINY

    folder = tmp_path_factory.mktemp("injected")
    session = Session.create(folder / "search", sky[1], settings=TINY, audit=20)
    with open(sky[0].truth, newline="") as handle:
        truth = {row["object_id"]: row["class"] != "nominal" for row in csv.DictReader(handle)}
    free = [i for i in session.cache.ids if i not in session.labels.audit]
    odd, usual = ([i for i in free if truth[i] is rare] for rare in (True, False))
    session.label(odd, "anomaly")
    session.label(usual[:20], "nominal")
    audit = sorted(session.labels.audit)
    session.labels.verdict(audit, ["anomaly" if truth[i] else "nominal" for i in audit], annotator="ann")
    session.train("probe")
    return session


@pytest.fixture
def session(trained):
    return Session.open(trained.path)


def content(folder, *, without=("completeness", "features")):
    """Digest of every file of a session."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.relative_to(folder).parts[0] not in without
    }


class Light:
    """Injections as they are before anything is written: what was added, what was asked for, columns."""

    def __init__(self, session, kind, **options):
        blocks = list(injected_blocks(session, InjectionRequest.of(session.cache, kind, **options)))
        names = list(dict.fromkeys(name for block in blocks for name in block.columns))
        self.columns = {name: np.array([block.columns[name][0] for block in blocks]) for name in names}
        self.units = {name: str(blocks[0].columns[name].unit) for name in names}
        self.images = np.concatenate([block.images for block in blocks]).astype(float)
        self.hosts = [str(host) for host in self.columns["injected_into"]]
        self.added = self.images - session.cache.read(self.hosts)
        self.flux = np.nansum(self.added, axis=(2, 3))  # (n, bands)
        self.asked = np.stack([self.columns[f"injected_flux_{band}"] for band in session.cache.bands], axis=1)


@pytest.mark.parametrize("kind", ["lens", "ring", "tidal"])
def test_the_flux_that_is_added_is_what_was_asked_for(session, kind):
    light = Light(session, kind, psf=PSF, n=25, magnitude=(18.5, 20), size=(3, 8), seed=3)
    assert light.flux == pytest.approx(light.asked, rel=0.01)
    magnitude = light.columns["injected_mag_r"]
    assert ((magnitude >= 18.5) & (magnitude <= 20)).all()
    assert (light.units["injected_mag_r"], light.units["injected_flux_r"]) == ("mag", "adu")
    assert light.columns["injected_size_arcsec"] == pytest.approx(0.1 * light.columns["injected_size"])
    flux = 10 ** (0.4 * (30.0 - magnitude))  # by the zero point of the simulated mosaics
    assert flux == pytest.approx(light.columns["injected_flux_r"], rel=1e-6)


def test_relative_brightness_is_that_of_the_host_and_colours_are_kept(session):
    light = Light(session, "ring", psf="0.25arcsec", n=12, relative=(0.2, 0.5), seed=1)
    for k, host in enumerate(light.hosts):
        measured = measure(session.cache[host], {}).flux
        assert light.asked[k] == pytest.approx(light.columns["injected_relative"][k] * measured)
    blue = Light(session, "ring", psf=2.5, n=5, flux=(1e3, 1e4), band="g", colours={"g": 2, "r": 1, "i": 0.5})
    assert blue.asked[:, 0] == pytest.approx(2 * blue.asked[:, 1])
    assert blue.flux == pytest.approx(blue.asked, rel=0.01)


def test_the_noise_of_the_cutouts_is_kept_and_light_has_photon_noise_only_with_a_gain(session):
    options = {"psf": 2.5, "n": 8, "flux": (2e5, 3e5), "size": (4, 6), "seed": 5}
    plain, noisy = Light(session, "ring", **options), Light(session, "ring", gain=4.0, **options)
    scatter = noisy.images - plain.images
    bright = plain.added > 100  # adu, 400 electrons
    assert np.std(scatter[bright] / np.sqrt(plain.added[bright] / 4)) == pytest.approx(1, abs=0.1)
    assert plain.added.min() > -1e-3 * plain.added.max()  # light only


def test_where_there_is_no_data_there_is_none_afterwards():
    data = np.random.default_rng(0).normal(0, 1, (1, 41, 41)).astype(np.float32)
    data[0, 15:26, 15:26] += 50
    data[0, :, 3] = np.nan
    request = InjectionRequest(
        KINDS["ring"], 1, Brightness("flux", 100.0, 101.0, "r"), (4.0, 4.1), float("nan"), (Psf(2.0),), "", (1.0,),
        None, (float("nan"),), None, None, 0,
    )  # fmt: skip
    block = inject_into(measure(Cutout("a", data, ("r",), units=("",)), {}), request, 0)
    assert np.array_equal(np.isnan(block.images[0]), np.isnan(data))
    assert np.nansum(block.images[0] - data) == pytest.approx(block.columns["injected_flux_r"][0], rel=0.01)
    assert block.ids == ["injected-ring-000001"]


def test_brighter_ones_are_found_more_often(session, tmp_path):
    report = session.inject("ring", tmp_path / "out", psf=PSF, n=90, relative=(0.02, 3), size=(6, 12), top=30, seed=4)
    brightness, rank = np.array(report.injections["injected_relative"]), np.array(report.injections["rank"])
    faint, bright = (brightness < np.quantile(brightness, 1 / 3)), (brightness > np.quantile(brightness, 2 / 3))
    assert (rank[bright] <= 30).mean() > (rank[faint] <= 30).mean() + 0.2


def test_light_without_flux_leaves_the_score_as_it_is(session, tmp_path):
    """The injections pass through the same ranker and the same features as the survey."""
    report = session.inject("lens", tmp_path / "out", psf=2.5, n=10, flux=(1e-4, 1e-3), colours=dict.fromkeys("gri", 1))
    ids, log_odds = session.scores()
    score_of = dict(zip(ids, -log_odds[:, 0], strict=True))
    hosts = [score_of[str(host)] for host in report.injections["injected_into"]]
    assert report.injections["score"] == pytest.approx(hosts, abs=2e-3)
    better = [
        sum(score > score_of[str(row["injected_into"])] for score in score_of.values()) for row in report.injections
    ]
    assert np.abs(report.injections["rank"] - 1 - better).max() <= 1
    assert list(report.injections["host_rank"] - 1) == better


def test_nothing_of_the_session_changes_but_the_file_of_the_result_and_injections_join_none(session, tmp_path, tiny):
    before, digest = content(session.path), session.cache.digest()
    last, audit = session.labels.last_event, session.labels.audit
    report = session.inject("ring", tmp_path / "out", psf=PSF, n=15, seed=2)
    assert content(session.path) == before
    assert session.cache.digest() == digest
    again = Session.open(session.path)
    assert (again.labels.last_event, again.labels.audit, len(again.rounds)) == (last, audit, 1)
    labelled = {i for i, one in again.labels.current().items() if one.votes}
    assert not {str(host) for host in report.injections["injected_into"]} & (labelled | audit)
    assert not set(report.cache.ids) & set(again.cache.ids)
    assert [one.kind for one in read_completeness(session.path) if one.kind == "ring"] == ["ring"]
    assert not session.check().damaged
    with pytest.raises(SessionError, match="holds injections, simulated light"):
        session.score(report.folder / "cache")
    with pytest.raises(SessionError, match="holds injections, simulated light"):
        Session.create(tmp_path / "other", report.folder / "cache", settings=tiny)
    assert session.cache_names == Session.open(session.path).cache_names


def test_the_same_seed_gives_the_same_injections(session, tmp_path):
    options = {"psf": PSF, "n": 10, "magnitude": (19, 22)}
    first, second = (session.inject("lens", tmp_path / name, seed=7, **options) for name in "ab")
    assert first.cache.digest() == second.cache.digest()
    assert list(first.injections["object_id"]) == list(second.injections["object_id"])
    assert (first.injections["rank"] == second.injections["rank"]).all()
    assert str(first.table) == str(second.table)
    assert not np.array_equal(
        Light(session, "lens", seed=8, **options).images, Light(session, "lens", **options).images
    )


def test_more_injections_than_objects_use_hosts_again_with_other_light(session):
    hosts = [i for i in session.cache.ids if i not in session.labels.audit][-12:]
    free = {i for i in hosts if not session.labels.current().get(i)}
    light = Light(session, "ring", psf=2.5, n=40, hosts=hosts)
    assert len(light.hosts) == 40
    assert set(light.hosts) <= free
    assert len({image.tobytes() for image in light.images}) == 40
    with pytest.raises(SessionError, match="of 0 objects without a label"):
        Light(session, "ring", psf=2.5, hosts=sorted(session.labels.audit))


def test_a_stamp_is_added_in_its_own_colours_and_with_its_own_size(session, tmp_path):
    y, x = np.mgrid[:31, :31] - 15.0
    disc = (np.hypot(x, y) < 8).astype(np.float32)
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(disc * k, name=band) for k, band in zip((1, 2, 4), "gri", strict=True))]
    fits.HDUList(hdus).writeto(tmp_path / "disc.fits")
    light = Light(session, tmp_path / "disc.fits", psf=0, n=6, flux=(1e4, 2e4))
    assert light.asked[:, 2] == pytest.approx(2 * light.asked[:, 1])
    assert light.flux == pytest.approx(light.asked, rel=0.01)
    assert light.columns["injected_size"] == pytest.approx(8 / np.sqrt(2), rel=0.1)  # half of the light of a disc
    assert set(light.columns["injected_kind"]) == {"disc"}
    lit = [(plane > 0.5 * plane.max()).sum() for plane in light.added[:, 1]]
    assert np.median(lit) == pytest.approx(np.pi * 64, rel=0.1)


def test_a_psf_that_is_an_image_is_as_one_of_its_width():
    y, x = np.mgrid[:33, :33] - 16.0
    where = {"size_px": 4.0, "reach": 1.7, "centre": (20.3, 19.8), "shape": (41, 41)}
    (light,) = KINDS["ring"].draw(np.random.default_rng(0))
    image = moffat(x, y, 3.0)
    first, second = (render(light, psf=psf, **where) for psf in (Psf(3.0), Psf(0.0, image / image.sum())))
    assert np.abs(first - second).max() < 0.02 * first.max()
    sharp = render(light, psf=Psf(0.0), **where)
    assert sharp.max() > 1.5 * first.max()
    assert first.sum() == pytest.approx(1, abs=0.01)


def test_a_lens_has_its_images_at_the_einstein_radius():
    """Most of the light of many lenses lies between 0.6 and 1.7 Einstein radii, on all sides."""
    where = {"size_px": 10.0, "reach": 3.0, "centre": (50.0, 50.0), "shape": (101, 101), "psf": Psf(0.0)}
    rng = np.random.default_rng(0)
    mean = np.mean([render(KINDS["lens"].draw(rng)[0], **where) for _ in range(60)], axis=0)
    y, x = np.mgrid[:101, :101] - 50.0
    near = (np.hypot(x, y) > 6) & (np.hypot(x, y) < 17)
    assert mean[near].sum() > 0.65
    assert mean[near & (x > 0)].sum() == pytest.approx(mean[near & (x < 0)].sum(), rel=0.35)


@pytest.mark.parametrize("ranker", ["tuned", "fixmatch", "active-search"])
def test_injections_are_ranked_by_every_ranker(new_session, tmp_path, ranker):
    session = new_session(computed=True)
    ids = list(session.cache.ids)
    session.label(ids[:6], "anomaly")
    session.label(ids[6:20], "nominal")
    session.train(ranker)
    report = session.inject("ring", tmp_path / "out", psf=2.5, n=8)
    assert np.isfinite(report.injections["score"]).all()
    assert report.completeness.ranker == ranker
    assert report.completeness.efficiency.total.n == 8


def test_the_efficiency_is_counted_with_its_interval():
    brightness = Axis("magnitude", "AB magnitude in r", "mag", np.array([18.0, 19.0, 20.0]), False)
    size = Axis("size", "Einstein radius", "arcsec", np.array([0.5, 1.0, 2.0]), True)
    values = np.array([18.0, 18.5, 19.5, 20.0, 19.0])
    found = Efficiency.count(
        brightness,
        size,
        values,
        np.array([0.5, 1.5, 0.7, 2.0, 0.6]),
        np.array([1, 10, 11, 200, 10]),
        np.array([9, 11, 12, 300, 80]),
        10,
        [1, 100],
    )
    assert found.n.tolist() == [[1, 1], [2, 1]]
    assert found.found.tolist() == [[1, 1], [1, 0]]
    assert found.within == (1, 4)
    assert (found.hosts.found, found.hosts.n) == (1, 5)
    table = found.table()
    assert list(table["by"]) == ["brightness"] * 2 + ["size"] * 2 + ["both"] * 4 + ["all"]
    assert list(table["found"][:2]) == [2, 1]
    assert table["magnitude_low"].unit == "mag"
    assert ((table["low"] <= table["fraction"]) & (table["fraction"] <= table["high"])).all()
    again = Efficiency.from_plain(json.loads(json.dumps(found.to_plain())))
    assert str(again.table()) == str(table)


def test_without_injections_there_is_nothing_to_draw(tmp_path):
    axis = ("flux [adu]", np.array([1.0, 2.0, 3.0]), True)
    none = np.zeros((2, 2), int)
    with pytest.raises(ConfigError, match="no efficiency to draw"):
        figures.efficiency(none, none, tmp_path / "a.png", brightness=axis, size=axis, hosts=0.1)


def command(*given, check=0):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main([str(word) for word in given]) == check, err.getvalue()
    return out.getvalue() if check == 0 else err.getvalue()


def test_the_command_writes_tables_and_a_picture_and_the_report_shows_them(session, tmp_path):
    words = ["inject", session.path, "--kind", "lens", "--out", tmp_path / "out", "--psf", "g=2.8", "r=2.5", "i=2.4"]
    said = command(*words, "-n", 20, "--magnitude", 19, 22, "--size", "0.3arcsec", "0.9arcsec", "--top", 30)
    assert "by brightness" in said
    assert "without the light, " in said
    assert "AB magnitude in r [mag]" in said
    assert "among the first 30 of 130 objects, ranked by probe of round 1 (K is as asked for)" in said
    assert "photon noise of the light is not added, since the gain was not given" in said
    table = Table.read(tmp_path / "out" / "efficiency.ecsv", format="ascii.ecsv")
    total = table[table["by"] == "all"]
    assert total["n"][0] == 20
    injections = Table.read(tmp_path / "out" / "injections.vot", format="votable")
    assert int(np.sum(injections["found"])) == total["found"][0] == int(np.sum(injections["rank"] <= 30))
    assert (tmp_path / "out" / "efficiency.png").read_bytes().startswith(b"\x89PNG")
    page = tmp_path / "report.html"
    command("report", session.path, "--top", 3, "--out", page)
    text = page.read_text()
    assert "How complete the search is" in text
    assert "20 objects drawn at random and labelled blind" in text  # the audit set, apart
    assert "Injections: lens" in text
    assert "data:image/png" in text
    assert "injected-lens" not in text
    assert "already" in command(*words, check=2)
    assert "by size" in command(*words, "-n", 5, "--overwrite")


def test_a_killed_command_leaves_nothing_and_the_next_one_gives_the_same(session, tmp_path):
    words = ["inject", session.path, "--kind", "tidal", "--out", tmp_path / "out", "--psf", "2.5", "-n", "3000"]
    whole = [sys.executable, "-m", "astroanomaly", *map(str, words)]
    before = completeness_files(session.path)
    running = subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list(tmp_path.glob(".tmp-*")) and running.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out").exists()
    assert completeness_files(session.path) == before
    words[-1] = "5"
    command(*words)
    assert not list(tmp_path.glob(".tmp-*"))
    other = session.inject("tidal", tmp_path / "other", psf=2.5, n=5)
    assert other.cache.digest() == Cache.open(tmp_path / "out" / "cache").digest()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"kind": "lense"}, ConfigError, "did you mean 'lens'"),
        ({"kind": "nowhere.fits"}, UnreadableError, "there is no such file"),
        ({"psf": None}, ConfigError, "how wide is the PSF"),
        ({"psf": -1}, ConfigError, "psf"),
        ({"psf": {"g": 1}}, BandError, "none is given for the band r"),
        ({"psf": 1000}, ConfigError, "at most 64"),
        ({"magnitude": (20, 22), "flux": (1, 2)}, ConfigError, "exclude one another"),
        ({"magnitude": (22, 20)}, ConfigError, "the lower one first"),
        ({"relative": (0, 1)}, ConfigError, "more than 0"),
        ({"size": (1, 40)}, ConfigError, "half of the shorter side"),
        ({"size": ("1arcmin", "2arcmin")}, ConfigError, "half of the shorter side"),
        ({"band": "z"}, BandError, "the bands are g, r, i"),
        ({"colours": {"g": 1}}, BandError, "none is given for the band r"),
        ({"gain": 0}, ConfigError, "electrons"),
        ({"n": 0}, ConfigError, "n=0"),
        ({"hosts": ["nobody"]}, KeyError, "nobody"),
        ({"seed": -1}, ConfigError, "seed=-1"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(session, tmp_path, options, error, said):
    before = completeness_files(session.path)
    with pytest.raises(error, match=said):
        session.inject(out=tmp_path / "out", **{"kind": "lens", "psf": 2.5, "n": 3} | options)
    assert not (tmp_path / "out").exists()
    assert completeness_files(session.path) == before


def test_stamps_that_are_none_are_refused(session, tmp_path):
    def stamp(name, image, **more):
        fits.PrimaryHDU(image, **more).writeto(tmp_path / name)
        return tmp_path / name

    empty = stamp("empty.fits", np.zeros((5, 5), np.float32))
    holes = stamp("holes.fits", np.full((5, 5), np.nan, np.float32))
    line = stamp("line.fits", np.ones(7, np.float32))
    (tmp_path / "text.fits").write_text("no FITS")
    for path, said in ((empty, "no light"), (holes, "not finite"), (line, "no image of two axes")):
        with pytest.raises(UnreadableError, match=said):
            session.inject(path, tmp_path / "out", psf=2.5, n=3)
    with pytest.raises(UnreadableError, match=r"text\.fits"):
        session.inject(tmp_path / "text.fits", tmp_path / "out", psf=2.5, n=3)
    ones = np.ones((5, 5), np.float32)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(ones, name="u"), fits.ImageHDU(ones, name="y")]).writeto(
        tmp_path / "other.fits"
    )
    with pytest.raises(BandError, match="has the images U, Y"):
        session.inject(tmp_path / "other.fits", tmp_path / "out", psf=2.5, n=3)
    with pytest.raises(StorageError, match="does not exist"):
        session.inject("ring", tmp_path / "no" / "folder", psf=2.5, n=3)


def test_pictures_have_no_flux_to_add_to(tmp_path, tiny):
    from planted import plant

    plant(tmp_path / "cache")
    session = Session.create(tmp_path / "search", tmp_path / "cache", settings=tiny)
    with pytest.raises(CacheError, match="8-bit pictures, in which brightness is no flux"):
        session.inject("ring", tmp_path / "out", psf=2.5)


def test_without_a_round_nothing_can_be_ranked(new_session, tmp_path):
    with pytest.raises(SessionError, match="no trained ranker yet"):
        new_session().inject("ring", tmp_path / "out", psf=2.5, n=3)


def test_one_band_without_a_zero_point_takes_flux_and_no_magnitude(tmp_path, tiny):
    from small_sky import make_sky

    files, coords, _, _ = make_sky(tmp_path, n=24)
    with fits.open(files[0], mode="update") as hdus:
        hdus[0].header["BUNIT"] = "adu"
        hdus[0].data += np.random.default_rng(0).normal(0, 1, hdus[0].data.shape).astype(np.float32)
    ingest("fits", files[0], out=tmp_path / "cache", catalog=coords, size="16")
    session = Session.create(tmp_path / "search", tmp_path / "cache", settings=tiny)
    session.train("cold")
    with pytest.raises(ConfigError, match=r"object '.*': the band g is in adu, and has no zero point"):
        session.inject("ring", tmp_path / "out", psf=1.5, n=5, magnitude=(20, 21), size=(1.5, 3))
    assert not (tmp_path / "out").exists()
    report = session.inject("ring", tmp_path / "out", psf=1.5, n=5, flux=(50, 100), size=("0.3arcsec", "0.6arcsec"))
    assert report.completeness.ranker == "cold"
    assert report.table["flux_low"].unit == "adu"
    light = Light(session, "ring", psf=1.5, n=5, magnitude=(24, 25), zero_points={"g": 30}, size=(1.5, 3))
    assert light.flux == pytest.approx(light.asked, rel=0.01)


def test_a_session_with_numbers_beside_the_image_is_refused(new_session, sky, tmp_path):
    ids = list(Cache.open(sky[1]).ids)
    numbers = Table({"object_id": ids, "alpha": np.linspace(-1, 1, len(ids))})
    session = new_session(computed=True, blocks={"radio": numbers})
    session.train("cold")
    with pytest.raises(SessionError, match=r"beside the image \(radio\).*without blocks"):
        session.inject("ring", tmp_path / "out", psf=PSF, n=3)
    assert not (tmp_path / "out").exists()


def starry(folder, fwhm, *, stars=80, ellipticity=0.0):
    """A cache of random places of an image of stars with a known PSF; return it and the true PSF of pixels."""
    rng = np.random.default_rng(7)
    side, points = 600, np.linspace(-0.4, 0.4, 5)
    rows, columns = np.indices((side, side))
    x, y, flux = rng.uniform(20, side - 20, stars), rng.uniform(20, side - 20, stars), rng.uniform(1e4, 1e5, stars)

    def of_pixels(dx, dy):
        """The PSF integrated over pixels: a mean of 5 by 5 points in each."""
        return np.mean([moffat((dx + u) * (1 + ellipticity), dy + v, fwhm) for u in points for v in points], axis=0)

    image = rng.normal(50, 1, (side, side))
    peaks = flux / of_pixels(*np.meshgrid(np.arange(-40, 41), np.arange(-40, 41))).sum()
    for left, low, peak in zip(x, y, peaks, strict=True):
        near = np.s_[max(0, int(low) - 45) : int(low) + 45, max(0, int(left) - 45) : int(left) + 45]
        image[near] += peak * of_pixels(columns[near] - left, rows[near] - low)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150, 2], [300, 300]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    header = wcs.to_header()
    header["FILTER"] = "r"
    fits.PrimaryHDU(image.astype("f4"), header).writeto(folder / "m_r.fits")
    places = rng.uniform(35, side - 35, (2, 60))
    for name, (a, b) in (("stars", (x, y)), ("objects", places)):
        ra, dec = wcs.wcs_pix2world(a, b, 0)
        Table({"ra": ra, "dec": dec}).write(folder / f"{name}.fits")
    ingest("fits", [folder / "m_r.fits"], out=folder / "cache", catalog=folder / "objects.fits", size="64")
    return Cache.open(folder / "cache"), of_pixels


@pytest.mark.parametrize(("fwhm", "ellipticity"), [(1.4, 0.0), (2.5, 0.0), (3.0, 0.15)])
def test_the_psf_is_measured_on_the_stars_in_the_cutouts(tmp_path, fwhm, ellipticity):
    cache, of_pixels = starry(tmp_path, fwhm, ellipticity=ellipticity)
    (psf,) = (found := measure_psf(cache, tmp_path / "stars.fits")).psfs
    assert found.stars[0] > 20
    reach = len(psf.image) // 2
    axis = np.arange(-reach, reach + 1)
    true = of_pixels(axis[None, :], axis[:, None])
    true /= true.sum()
    assert psf.image.sum() == pytest.approx(1)
    assert np.abs(psf.image - true).max() < 0.03 * true.max()
    found.write(tmp_path / "psf.fits")
    request = InjectionRequest.of(cache, "ring", psf=tmp_path / "psf.fits", flux=(1, 2), colours={"r": 1})
    assert request.psfs[0].image == pytest.approx(psf.image, abs=1e-6)
    assert f"FWHM in pixels r {psf.fwhm:.3g} ({found.stars[0]} stars)" in str(found)


def test_galaxies_saturated_stars_and_empty_places_are_not_part_of_a_measured_psf(tmp_path):
    cache, _ = starry(tmp_path, 2.5)
    clean = measure_psf(cache, tmp_path / "stars.fits").psfs[0]
    with fits.open(tmp_path / "m_r.fits") as hdus:
        image, header = hdus[0].data.astype("f8"), hdus[0].header
    stars = Table.read(tmp_path / "stars.fits")
    x, y = WCS(header).all_world2pix(stars["ra"], stars["dec"], 0)
    rows, columns = np.indices(image.shape)
    for left, low in zip(x[:12], y[:12], strict=True):
        image += 300 * moffat(columns - left, rows - low, 7)  # galaxies
    image = np.minimum(image, np.quantile(image, 0.9985))  # saturated
    stars["ra"][-10:] += 5 / 3600  # nothing there
    other = tmp_path / "other"
    other.mkdir()
    fits.PrimaryHDU(image.astype("f4"), header).writeto(other / "m_r.fits")
    stars.write(other / "stars.fits")
    ingest("fits", [other / "m_r.fits"], out=other / "cache", catalog=tmp_path / "objects.fits", size="64")
    again = Cache.open(other / "cache")
    found = measure_psf(again, other / "stars.fits").psfs[0]
    assert found.fwhm == pytest.approx(clean.fwhm, rel=0.03)
    far = Table({"ra": [10.0], "dec": [10.0]})
    with pytest.raises(ConfigError, match="cannot be measured in r: of 0 stars of the given table"):
        measure_psf(cache, far)
    with pytest.raises(ConfigError, match="exclude one another"):
        InjectionRequest.of(cache, "ring", psf=2, psf_stars=far)


def test_injections_with_a_psf_of_stars_keep_it(tmp_path, capsys):
    from conftest import TINY

    cache, _ = starry(tmp_path, 2.5)
    session = Session.create(tmp_path / "search", cache.folders[0], settings=TINY)
    session.train("cold")
    options = ["--psf-stars", tmp_path / "stars.fits", "--flux", 1e3, 1e5, "--colours", "r=1", "-n", 12, "--top", 20]
    words = ["inject", tmp_path / "search", "--kind", "ring", "--out", tmp_path / "rings", *options]
    assert main([str(word) for word in words]) == 0
    assert "measured on stars of stars.fits: FWHM in pixels r 2.6" in capsys.readouterr().out
    with fits.open(tmp_path / "rings" / "psf.fits") as hdus:
        assert hdus[1].header["BAND"] == "r"
        assert hdus[1].header["FWHM"] == pytest.approx(2.63, abs=0.05)  # that of the pixels is in it
    (kept,) = read_completeness(session.path)
    assert "measured on stars" in kept.about["psf"]


@pytest.mark.parametrize("sky", [0.0, 7.0])
def test_a_place_in_an_image_without_light_or_noise_is_no_star_of_a_psf(sky):
    plane = np.full((96, 96), sky)
    rows, columns = np.indices(plane.shape) - 48
    plane[np.hypot(rows, columns) < 12] = sky - 1
    plane[48, 48] = sky  # a peak no higher than the sky
    assert isinstance(_look_at(plane, np.array([48.0, 48.0])), str)
