"""The simulated sky: what its files say is true of its pixels, and rarities differ by their shape alone."""

import csv
import hashlib
from collections import Counter

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from astroanomaly.demo.simulate import RARITIES, simulate
from astroanomaly.errors import ConfigError, StorageError

BANDS = ("g", "r", "i")


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("sky"), n_objects=1200, anomaly_rate=0.1, seed=11)


def truth_of(sky):
    with sky.truth.open(newline="") as handle:
        return {row["object_id"]: row["class"] for row in csv.DictReader(handle)}


def tile(sky, number, band):
    path = next(path for path in sky.mosaics if path.name == f"sky_tile{number}_{band}.fits")
    with fits.open(path, memmap=False) as hdus:
        return hdus[0].data, hdus[0].header


def digest(sky):
    files = [*sky.mosaics, sky.catalog, sky.truth]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def test_counts_and_ids(sky):
    truth = truth_of(sky)
    counts = Counter(truth.values())
    assert sky.n_objects == len(truth) == 1200
    assert counts == Counter(sky.counts)
    assert {name: counts[name] for name in RARITIES} == dict.fromkeys(RARITIES, 30)
    assert list(Table.read(sky.catalog)["object_id"]) == list(truth)


def test_two_thousand_objects_hold_at_least_four_of_every_kind():
    from astroanomaly.demo.simulate import _draw

    drawn = _draw(np.random.default_rng(0), 2000, 0.01, (2096, 4080))
    counts = Counter(drawn["class"].tolist())
    assert counts["nominal"] == 1980
    assert min(counts[name] for name in RARITIES) >= 4


def test_every_file_says_that_it_is_simulated(sky):
    assert len(sky.mosaics) == 2 * len(BANDS)
    for path in sky.mosaics:
        header = fits.getheader(path)
        assert header["SIMULATE"] is True
        assert "SIMULATED" in str(header["COMMENT"])
        assert header["BUNIT"] == "adu"
        assert header["FILTER"] == path.stem[-1]
    catalog = Table.read(sky.catalog)
    assert any("SIMULATED" in line for line in catalog.meta["comments"])
    assert "class" not in catalog.colnames
    assert catalog["ra"].unit == "deg"


def test_bright_objects_lie_where_the_catalogue_says(sky):
    catalog, truth = Table.read(sky.catalog), truth_of(sky)
    pixels, header = tile(sky, 1, "r")
    x, y = WCS(header).all_world2pix(catalog["ra"], catalog["dec"], 0)
    offset = np.arange(-6, 7)
    shifts = []
    for column, row, snr, name in zip(x, y, catalog["snr"], catalog["object_id"], strict=True):
        if not (40 < column < pixels.shape[1] - 40) or snr < 150 or truth[name] != "nominal":
            continue
        c, r = round(column), round(row)
        stamp = np.clip(pixels[r - 6 : r + 7, c - 6 : c + 7], 0, None).astype(float)
        weight = stamp * np.exp(-0.5 * ((offset[None] + c - column) ** 2 + (offset[:, None] + r - row) ** 2) / 9)
        total = weight.sum()
        shifts.append(
            np.hypot((weight.sum(0) @ offset) / total + c - column, (weight.sum(1) @ offset) / total + r - row)
        )
    assert len(shifts) > 40
    # blended pairs and irregular galaxies have no centre to speak of; most nominal objects do
    assert np.median(shifts) < 0.3
    assert np.mean(np.array(shifts) < 0.5) > 0.7


def test_measured_flux_and_size_are_those_of_the_pixels_and_of_the_drawing(sky):
    from astroanomaly.demo.simulate import _check, _draw

    catalog = Table.read(sky.catalog)
    drawn = _draw(np.random.default_rng(np.random.SeedSequence(11).spawn(1)[0]), 1200, 0.1, _check(1200, 0.1, 11, 2))
    pixels, header = tile(sky, 2, "r")
    x, y = WCS(header).all_world2pix(catalog["ra"], catalog["dec"], 0)
    rows, cols = np.indices(pixels.shape)
    picked = np.flatnonzero((x > 130) & (x < pixels.shape[1] - 40))[:60]
    mine = []
    for number in picked:
        r, c = round(float(y[number])), round(float(x[number]))
        box = np.s_[r - 31 : r + 32, c - 31 : c + 32]
        mine.append(pixels[box][np.hypot(cols[box] - x[number], rows[box] - y[number]) < 30].sum(dtype=float))
    assert mine == pytest.approx(catalog["flux_r"][picked].tolist(), rel=2e-3)
    # unrelated light in the aperture only adds, so a pull far below zero can only be noise
    pull = (catalog["flux_r"] - drawn["flux"][:, 1]) / catalog["flux_r_error"]
    assert np.mean(pull < -2) < 0.04
    assert 1 <= np.median(catalog["flux_r"] / drawn["flux"][:, 1]) < 1.08
    # rarities are measured to be as large as nominal objects that were drawn as large; neighbours add to both
    ratio, rare = catalog["r50"] / (0.1 * drawn["r50"]), drawn["class"] != "nominal"
    assert np.median(ratio[rare]) == pytest.approx(np.median(ratio[~rare]), abs=0.05)


def test_flux_errors_are_the_scatter_between_two_looks_at_one_sky(sky):
    """Measure circles of 20 pixels in both tiles where they overlap: same sky, independent noise."""
    first, header = tile(sky, 1, "r")
    second, _ = tile(sky, 2, "r")
    first, second = first[:, -96:].astype(float), second[:, :96].astype(float)
    rows, cols = np.indices((41, 41)) - 20
    inside = np.hypot(rows, cols) < 20
    pulls = []
    for row in range(0, first.shape[0] - 41, 41):
        for column in (0, 41):
            one, two = (part[row : row + 41, column : column + 41][inside] for part in (first, second))
            variance = inside.sum() * header["SKYRMS"] ** 2 + max((one.sum() + two.sum()) / 2, 0) / header["GAIN"]
            pulls.append((one.sum() - two.sum()) / np.sqrt(2 * variance))
    assert len(pulls) > 70
    assert np.std(pulls) == pytest.approx(1, abs=0.25)
    assert abs(np.mean(pulls)) < 0.4


def test_magnitudes_follow_from_zero_points(sky):
    catalog = Table.read(sky.catalog)
    for band in BANDS:
        _, header = tile(sky, 1, band)
        expected = header["MAGZERO"] - 2.5 * np.log10(catalog[f"flux_{band}"].data)
        assert np.allclose(catalog[f"mag_{band}"].data, expected, atol=2e-4)


@pytest.mark.parametrize("band", BANDS)
def test_noise_of_the_empty_sky_is_as_stated(sky, band):
    first, header = tile(sky, 1, band)
    second, other = tile(sky, 2, band)
    start = round(header["CRPIX1"] - other["CRPIX1"])  # column of the first tile where the second begins
    overlap = first.shape[1] - start
    assert overlap == 96
    difference = first[:, start:] - second[:, :overlap]
    faint = first[:, start:] + second[:, :overlap] < 2 * header["SKYRMS"]  # mostly sky
    scatter = 1.4826 * np.median(np.abs(difference[faint] - np.median(difference[faint])))
    assert scatter / np.sqrt(2) == pytest.approx(header["SKYRMS"], rel=0.04)


def test_tiles_share_one_sky(sky):
    _, first = tile(sky, 1, "g")
    _, second = tile(sky, 2, "g")
    start = first["CRPIX1"] - second["CRPIX1"]
    here = WCS(first).pixel_to_world(start + 10, 20)
    assert here.separation(WCS(second).pixel_to_world(10, 20)).arcsec < 1e-6


def test_the_seed_decides_everything(tmp_path):
    one = simulate(tmp_path / "one", n_objects=20, anomaly_rate=0.2, seed=3)
    same = simulate(tmp_path / "same", n_objects=20, anomaly_rate=0.2, seed=3)
    other = simulate(tmp_path / "other", n_objects=20, anomaly_rate=0.2, seed=4)
    assert digest(one) == digest(same)
    assert not set(digest(one)) & set(digest(other))


def test_flux_size_colour_and_noise_do_not_tell_the_rarities(sky):
    catalog, truth = Table.read(sky.catalog), truth_of(sky)
    rare = np.array([truth[name] != "nominal" for name in catalog["object_id"]])
    four = np.column_stack(
        [
            np.log10(catalog["flux_r"]),
            np.log10(catalog["r50"]),
            catalog["mag_g"] - catalog["mag_r"],
            catalog["mag_r"] - catalog["mag_i"],
            np.log10(catalog["snr"]),
        ]
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for model in (
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced")),
        RandomForestClassifier(150, min_samples_leaf=4, class_weight="balanced", random_state=0),
    ):
        score = cross_val_predict(model, four, rare, cv=folds, method="predict_proba")[:, 1]
        assert average_precision_score(rare, score) < 3 * rare.mean()


def test_shapes_differ_where_the_four_do_not(sky):
    """Rings are darker at mid-radius than at their edge; hardly any nominal object is."""
    catalog, truth = Table.read(sky.catalog), truth_of(sky)
    pixels, header = tile(sky, 1, "r")
    x, y = WCS(header).all_world2pix(catalog["ra"], catalog["dec"], 0)
    contrast = {"ring": [], "nominal": []}
    rows, cols = np.indices(pixels.shape)
    for column, row, r50, name in zip(x, y, catalog["r50"] / 0.1, catalog["object_id"], strict=True):
        if truth[name] not in contrast or not (40 < column < pixels.shape[1] - 40):
            continue
        r, c = round(row), round(column)
        box = np.s_[r - 31 : r + 32, c - 31 : c + 32]
        radius = np.hypot(cols[box] - column, rows[box] - row) / r50
        inner = pixels[box][(radius > 0.45) & (radius < 0.65)].mean()
        outer = pixels[box][(radius > 0.9) & (radius < 1.2)].mean()
        contrast[truth[name]].append(outer / inner)
    assert np.median(contrast["ring"]) > 2 * np.median(contrast["nominal"])


def test_a_ranker_without_labels_does_not_solve_it_and_a_few_labels_help(sky):
    """Rank frozen ImageNet features of the stamps by an isolation forest, and by a probe with few labels."""
    import torch
    from sklearn.ensemble import IsolationForest

    from astroanomaly.config import BackboneConfig
    from astroanomaly.learn.network.backbone import build_backbone

    catalog, truth = Table.read(sky.catalog), truth_of(sky)
    planes, header = [tile(sky, 1, band)[0] for band in reversed(BANDS)], tile(sky, 1, "r")[1]
    x, y = (np.round(axis).astype(int) for axis in WCS(header).all_world2pix(catalog["ra"], catalog["dec"], 0))
    inside = np.flatnonzero((x > 32) & (x < planes[0].shape[1] - 32))[:450]
    stamps = np.array([[p[y[k] - 32 : y[k] + 32, x[k] - 32 : x[k] + 32] for p in planes] for k in inside])
    low, high = np.percentile(stamps, [1, 99.8], axis=(0, 2, 3))[:, :, None, None]
    stamps = np.arcsinh(10 * np.clip((stamps - low) / (high - low), 0, 1)) / np.arcsinh(10)
    rare = np.array([truth[catalog["object_id"][k]] != "nominal" for k in inside])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = build_backbone(BackboneConfig()).eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        parts = [network.features(torch.tensor(part, dtype=torch.float32)) for part in np.array_split(stamps, 10)]
    torch.set_num_threads(threads)
    features = torch.cat(parts).numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cold = -IsolationForest(n_estimators=200, random_state=0).fit(features).score_samples(features)
    assert average_precision_score(rare, cold) < 0.5
    rng = np.random.default_rng(0)
    known = np.r_[rng.permutation(np.flatnonzero(rare))[:12], rng.permutation(np.flatnonzero(~rare))[:60]]
    rest = np.setdiff1d(np.arange(len(rare)), known)
    probe = LogisticRegression(class_weight="balanced", max_iter=1000).fit(features[known], rare[known])
    score = probe.decision_function(features)
    assert average_precision_score(rare[rest], score[rest]) > 1.5 * average_precision_score(rare[rest], cold[rest])


def test_progress_runs_to_the_end(tmp_path):
    reports = []
    simulate(tmp_path, n_objects=8, tiles=1, progress=reports.append)
    assert {report.stage for report in reports} == {"drawing objects", "writing mosaics"}
    assert all(0 <= report.done <= report.total for report in reports)
    assert (reports[-1].done, reports[-1].total) == (3, 3)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"n_objects": 0}, "n_objects"),
        ({"anomaly_rate": 1.5}, "anomaly_rate"),
        ({"seed": -1}, "seed"),
        ({"tiles": 0}, "tiles"),
    ],
)
def test_numbers_outside_their_range_are_named(tmp_path, wrong, word):
    with pytest.raises(ConfigError, match=word):
        simulate(tmp_path / "sky", **wrong)
    assert not (tmp_path / "sky").exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        simulate(tmp_path / "file" / "sky", n_objects=4)
