"""The public doors: each wrong value is refused there, in words, whatever it is; each right one is taken."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table

import astroanomaly
from astroanomaly import AstroAnomalyError, Cache, ConfigError, Session, ingest, preview, read_catalog
from conftest import TINY
from test_ways_up import survey

WRONG = [object(), {"a": 1}, 5 * u.kg, SkyCoord(1, 2, unit="deg"), 3.5]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cache of twelve objects, and a session of which a ranker has learnt."""
    folder = tmp_path_factory.mktemp("doors")
    cache, ids = survey(folder / "cache", (0, False), (32, 32), 12)
    session = Session.create(folder / "session", cache, settings=TINY)
    session.label(ids[:2], "anomaly")
    session.label(ids[2:6], "nominal")
    session.train("probe")
    return folder, cache, session, ids


def doors(folder, cache, session, ids):
    """Name -> function, and arguments that it takes; some are refused later on, since there is nothing to read."""
    out = folder / "out"
    which = {"top": None, "threshold": None, "labelled": None, "merge_radius_arcsec": 1.0}
    cluster = {"scheduler": None, "workers": None}
    table, cutout = session.candidates(3), cache[ids[0]]
    request = {"source": "fits", "inputs": (), "prefix": "", "fetch": None}
    return {
        "Session.create": (Session.create, {
            "path": out / "s", "caches": out / "none", "classes": (), "settings": None, "labels": None, "audit": 0,
            "start_from": None,
        }),
        "Session.open": (Session.open, {"path": out}),
        "label": (session.label, {
            "ids": ids[0], "value": "anomaly", "radius": "1arcsec", "annotator": "a", "note": "n"
        }),
        "import_labels": (session.import_labels, {"path": out, "match_radius_arcsec": 1.0, "annotator": "a"}),
        "export_labels": (session.export_labels, {"path": out / "no" / "l.csv"}),
        "relocate": (session.relocate, {"caches": out}),
        "add_audit": (session.add_audit, {"n": 10_000, "replace": False}),
        "train": (session.train, {"ranker": "none", **cluster}),
        "score": (session.score, {"cache": None, **cluster}),
        "score_source": (session.score_source, {**request, "out": out, "top": 5, "recall": None, **cluster}),
        "candidates": (session.candidates, {
            "n": 3, "order": "score", "include_labelled": False, "merge_radius_arcsec": 1.0
        }),
        "remaining": (session.remaining, {"depths": None}),
        "suspects": (session.suspects, {"n": 3}),
        "export": (session.export, {"path": out / "no" / "c.fits", **which}),
        "export_scores": (session.export_scores, {"path": out / "no" / "c.fits", "survey": None}),
        "write_cutouts": (session.write_cutouts, {"path": out / "no" / "c", "ids": None, **which}),
        "write_report": (session.write_report, {"path": out / "no" / "r.html", "title": "", "ids": None, **which}),
        "write_bundle": (session.write_bundle, {"path": out / "no" / "b.zip", "title": "", "ids": None, **which}),
        "write_methods": (session.write_methods, {"path": out / "no" / "m.txt"}),
        "write_footprint": (session.write_footprint, {"path": out / "no" / "m.fits", "size": "1arcsec", "order": 8}),
        "Session.reproduce": (Session.reproduce, {"bundle": out / "no.zip", "caches": None, "tolerance": 1e-4}),
        "saliency": (session.saliency, {"object_id": ids[0]}),
        "contact_sheet": (session.contact_sheet, {"table": table, "path": out / "x.doc", "orientation": "north"}),
        "Cache.open": (Cache.open, {"path": out}),
        "cache[...]": (cache.__getitem__, {"object_id": ids[0]}),
        "cutouts": (lambda ids: list(cache.cutouts(ids)), {"ids": ids[:1]}),
        "cache.write_cutouts": (cache.write_cutouts, {"ids": ids[:1], "path": out / "no" / "c"}),
        "read": (cache.read, {"ids": ids[:1]}),
        "columns": (cache.columns, {"ids": ids[:1]}),
        "table": (cache.table, {"columns": None}),
        "near": (cache.near, {"coord": "10 40", "radius": "1arcsec"}),
        "sample": (cache.sample, {"n": 2, "rng": np.random.default_rng(0), "exclude": ()}),
        "rgb": (cache.pictures.rgb, {"ids": ids[:1], "display": None}),
        "ingest": (ingest, {**request, "out": out, "workers": 1, "scheduler": None, "catalog": None, "bands": ()}),
        "preview": (preview, {**request, "n": 2, "to": None}),
        "read_catalog": (read_catalog, {"path": out}),
        "Cutout.band": (cutout.band, {"name": "g"}),
        "Cutout.nddata": (cutout.nddata, {"band": "g"}),
        "Cutout.to_hdulist": (cutout.to_hdulist, {"cards": None}),
        "wavelength_nm": (astroanomaly.wavelength_nm, {"name": "g"}),
    }  # fmt: skip


def test_no_door_lets_a_raw_error_out(made):
    raw = []
    for name, (door, taken) in doors(*made).items():
        for argument in taken:
            for value in WRONG:
                try:
                    door(**{**taken, argument: value})
                except AstroAnomalyError:
                    continue
                except Exception as error:  # noqa: BLE001 - whatever comes out raw is what is looked for
                    raw.append(f"{name}({argument}={type(value).__name__}): {type(error).__name__}: {error}")
    assert not raw, "\n".join(raw)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: s.export(5), "catalogue is int: expected its path"),
        (lambda s: s.write_report(None), "report is NoneType: expected its path"),
        (lambda s: s.candidates("many"), "n='many': expected a whole number"),
        (lambda s: s.score(3), "cache is int: expected its path.*Cache"),
        (lambda s: s.import_labels({"a": "anomaly"}), "labels: dict .*expected the path of a table"),
        (lambda s: s.train(7), "ranker=7: expected text"),
        (lambda s: s.export("c.fits", top=0), "top=0: expected a whole number, 1"),
        (lambda s: ingest("fits", out="c", bands={"g": fits.HDUList([fits.PrimaryHDU()])}), "bands: HDUList for the"),
        (lambda s: ingest(12, out="c"), "source: int is no source"),
    ],
)
def test_an_error_names_the_argument_and_what_is_taken(made, call, said):
    with pytest.raises(ConfigError, match=said):
        call(made[2])


def test_a_session_takes_what_ingest_returns_and_labels_from_a_table(made, tmp_path):
    folder, cache, _, ids = made
    labels = QTable({"object_id": ids[:3], "label": ["anomaly", "nominal", "nominal"]})
    session = Session.create(tmp_path / "a", cache, settings=TINY, labels=labels)
    assert list(session.cache_folders) == [folder / "cache"]
    assert {i: one.label for i, one in session.labels.current().items()} == dict(
        zip(ids[:3], labels["label"].tolist(), strict=True)
    )
    more = Table({"coord": SkyCoord([10.0], [40.0], unit="deg"), "class": ["anomaly"]})
    assert session.import_labels(more).added == 1
    again = Session.create(tmp_path / "b", [cache], settings=TINY, labels=session.labels_table())
    assert len(again.labels.current()) == len(session.labels.current())
    assert session.relocate(cache).caches == (folder / "cache",)
