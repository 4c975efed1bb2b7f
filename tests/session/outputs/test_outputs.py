"""What a colleague opens: cutouts with scores, a report that fetches nothing, a bundle that tells of changes."""

import io
import json
import re
import shutil
import subprocess
import zipfile
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table
from PIL import Image

from astroanomaly import Session
from astroanomaly.cache import Cache
from astroanomaly.errors import CacheError, ConfigError, StorageError, UnknownObjectError, UnreadableError
from astroanomaly.files import CHECKSUMS
from astroanomaly.imaging.compass import Compass
from astroanomaly.session.outputs.check import check_bundle
from astroanomaly.session.outputs.cutouts import refuse_too_many, zip_cutouts
from astroanomaly.session.outputs.links import links
from astroanomaly.session.outputs.pictures import marks, png, render
from astroanomaly.session.outputs.provenance import public
from astroanomaly.session.outputs.report import report


@pytest.fixture(scope="module")
def session(sky, tmp_path_factory):
    """A scored session with labels by two people, one of whom calls himself something hostile."""
    folder = tmp_path_factory.mktemp("outputs")
    cache = shutil.copytree(sky[1], folder / "cache", ignore=shutil.ignore_patterns("derived"))
    settings = {"input": {"size": 32}, "backbone": {"name": "test_efficientnet", "weights": "random"}}
    made = Session.create(folder / "search", cache, settings=settings, classes=["ring"])
    ids = list(made.cache.ids)
    made.label(ids[:4], "anomaly", annotator="ann")
    made.label(ids[4], "ring", annotator="ann", note="<script>alert(1)</script> = look")
    made.label(ids[0], "ring", annotator="<b>/home/ben</b>")
    made.label(ids[5:8], "nominal", annotator="ann")
    made.train("cold")
    return made


@pytest.fixture(scope="module")
def bundle(session, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "found"
    return path, session.write_bundle(path, top=6, title="Odd <things> & more")


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.pictures, self.targets, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.pictures += [value for name, value in attrs if name == "src"]
        self.targets += [value for name, value in attrs if name == "href"]

    def handle_data(self, data):
        self.text += data


# -------------------------------------------------------------------------------------------------------- cutouts


def test_cutouts_of_a_session_say_what_it_thinks_of_them(session, tmp_path):
    names = session.write_cutouts(tmp_path / "out", top=3)
    table = session.export(tmp_path / "a.csv", top=3)
    for name, row in zip(names, table, strict=True):
        with fits.open(tmp_path / "out" / name, checksum=True) as hdus:
            head = hdus[0].header
            assert head["OBJECT"] == row["object_id"]
            assert head["SCORE"] == pytest.approx(float(row["score"]))
            assert head["RANK"] == row["rank"]
            assert (head["SESSION"], head["RANKER"], head["ROUND"]) == ("search", "cold", "1")
            assert re.match(r"\d{4}-\d\d-\d\dT", head["DATE"])
            assert str(tmp_path.parent) not in repr(head)
            np.testing.assert_array_equal(hdus["r"].data, session.cache[str(row["object_id"])].band("r"))


def test_chosen_ids_are_written_in_their_order(session, tmp_path):
    ids = [session.cache.ids[k] for k in (9, 2, 9)]
    assert len(session.write_cutouts(tmp_path / "a.fits", ids=ids, one_file=True)) == 2
    with fits.open(tmp_path / "a.fits") as hdus:
        assert [hdus["r", k].header["OBJECT"] for k in (1, 2)] == ids[:2]
        assert "SCORE" in hdus["r", 2].header
    with pytest.raises(ConfigError, match="exclude one another"):
        session.write_cutouts(tmp_path / "b", ids=ids, top=3)
    with pytest.raises(UnknownObjectError, match="nobody"):
        session.write_cutouts(tmp_path / "b", ids=["nobody"])
    assert not (tmp_path / "b").exists()


def test_an_archive_for_a_browser_is_small(session):
    table = session.candidates(2, include_labelled=True)
    packed = io.BytesIO()
    zip_cutouts(session.cache, table, packed)
    with zipfile.ZipFile(packed) as archive:
        assert len(archive.namelist()) == 2
        with fits.open(io.BytesIO(archive.read(archive.namelist()[0])), checksum=True) as hdus:
            assert hdus[0].header["OBJECT"] == table["object_id"][0]
    with pytest.raises(ConfigError, match="too many for a download"):
        refuse_too_many(session.cache, 10**6)


# --------------------------------------------------------------------------------------------------------- report


def test_a_report_has_pictures_and_escaped_text_and_fetches_nothing(session, tmp_path):
    table = session.write_report(tmp_path / "r.html", labelled="ring", title="<i>Rings</i> & co")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(table) == 1
    assert page.tags.count("img") == page.tags.count("figure") == 1
    assert page.pictures[0].startswith("data:image/png;base64,")
    assert not {"script", "link", "iframe", "i", "form"} & set(page.tags)
    assert "<i>Rings</i> & co" in page.text
    assert "<script>alert(1)</script> = look" in page.text
    assert "default-src 'none'" in text
    assert all(target.startswith("https://") for target in page.targets)
    assert len(page.targets) == len(links(1.0, 1.0))
    assert re.search(r"\d{4}, \d\d:\d\d UTC", page.text)
    assert str(session.path.parent) not in text
    assert not re.search(r"@import|url\(|http:", text)
    assert {"N", "E"} <= set(re.findall(r">([NE])<", text))
    assert re.search(r">[\d.]+″<", text)
    assert "size: A4" in text


def test_a_report_says_how_large_its_pictures_are(session):
    table = session.candidates(3, include_labelled=True)
    cutout = session.cache[str(table["object_id"][0])]
    corner = cutout.wcs.pixel_to_world([-0.5, 47.5], [23.5, 23.5])
    assert f"each picture is {corner[0].separation(corner[1]).arcsec:.3g}″" in report(session.cache, table, "x")


def test_pictures_are_those_of_the_cache(session):
    ids = list(session.cache.ids[:3])
    pictures = render(session.cache, ids, 1000)
    np.testing.assert_array_equal(pictures, session.cache.pictures.rgb(ids))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(pictures[0])))), pictures[0])
    whole, half = (session.cache.pictures.compasses(ids[:1], None, largest)[0] for largest in (48, 24))
    assert half.scale_arcsec == pytest.approx(2 * whole.scale_arcsec)
    assert render(session.cache, ids, 24).shape[1:3] == (24, 24)


@pytest.mark.parametrize("angle", range(0, 360, 30))
def test_scale_bar_and_compass_stay_inside_the_picture(angle):
    a = np.radians(angle)
    compass = Compass(0.2, (np.cos(a), np.sin(a)), (np.sin(a), -np.cos(a)))
    drawn = marks(compass, 60, 40)
    places = re.findall(r'x="([-\d.]+)" y="([-\d.]+)" font-size="([\d.]+)"', drawn)
    assert len(places) == 3
    for x, y, size in np.array(places, float):
        assert -1e-6 <= x <= 60 - size / 3
        assert size / 3 <= y <= 40 - size / 3
    (length,) = re.findall(r"h([\d.]+)", drawn)
    assert float(length) * 0.2 == pytest.approx(2, rel=0.01)


def test_the_compass_of_a_report_points_to_the_north_of_the_picture(session):
    """The arrow leads from the middle to where the picture, as it is painted, is farther north."""
    object_id, pictures = session.cache.ids[0], session.cache.pictures
    (compass,) = pictures.compasses([object_id])
    (turned,) = pictures.orientations([object_id], pictures.usual_display.orientation)
    cutout = session.cache[object_id]
    x, y = turned.to_stored(23.5 + 10 * compass.north[0], 23.5 + 10 * compass.north[1], (48, 48))
    moved, middle = cutout.wcs.pixel_to_world(x, y), cutout.wcs.pixel_to_world(23.5, 23.5)
    assert middle.position_angle(moved).wrap_at("180d").deg == pytest.approx(0, abs=0.5)
    assert middle.separation(moved).arcsec == pytest.approx(10 * compass.scale_arcsec, rel=1e-3)
    dx, dy = map(float, re.findall(r"l([-\d.]+) ([-\d.]+)", marks(compass, 48, 48))[0])
    assert (dx / 4.8, -dy / 4.8) == pytest.approx(compass.north, abs=0.01)


def test_an_empty_report_or_one_of_another_kind_is_refused(session, tmp_path):
    with pytest.raises(ConfigError, match="a browser prints it into a PDF"):
        session.write_report(tmp_path / "r.pdf")
    with pytest.raises(ConfigError, match="no object was chosen"):
        report(session.cache, session.candidates(1)[:0], "x")
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(StorageError, match="exists already"):
        session.write_report(tmp_path / "r.html")


def test_a_report_is_printed_on_whole_pages(session, tmp_path, chromium):
    session.write_report(tmp_path / "r.html", top=30)
    page = chromium.new_page(java_script_enabled=False)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto((tmp_path / "r.html").as_uri())
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 703, "height": 1017})  # A4 without its margins, in CSS pixels
        assert page.evaluate("document.documentElement.scrollWidth") <= 703
        rows = page.evaluate("[...document.querySelectorAll('figure')].map(f => Math.round(f.offsetTop))")
        assert rows.count(rows[0]) == 4
        assert page.evaluate("getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    finally:
        page.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def last_of_stages(reports):
    """Return how far each stage came, in their order."""
    return {report.stage: (report.done, report.total) for report in reports}


def test_what_takes_long_tells_how_far_it_is(session, tmp_path):
    for write, stages in (
        (lambda tell: session.write_cutouts(tmp_path / "files", top=5, progress=tell), ["cutouts"]),
        (lambda tell: session.write_cutouts(tmp_path / "one.fits", top=5, one_file=True, progress=tell), ["cutouts"]),
        (lambda tell: session.write_report(tmp_path / "r.html", top=5, progress=tell), ["report"]),
        (
            lambda tell: session.write_bundle(tmp_path / "b.zip", top=5, progress=tell),
            ["cutouts", "pictures", "report"],
        ),
    ):
        reports = []
        write(reports.append)
        assert last_of_stages(reports) == dict.fromkeys(stages, (5, 5))
        assert len(reports) == 5 * len(stages)


def test_suspects_tell_what_is_computed(session, tmp_path):
    folder = shutil.copytree(session.path, tmp_path / "again", ignore=shutil.ignore_patterns("derived"))
    cache = shutil.copytree(session.cache.folders[0], tmp_path / "cache", ignore=shutil.ignore_patterns("derived"))
    again, reports = Session.open(folder), []
    again.relocate([cache])
    again.suspects(3, progress=reports.append)
    assert {report.stage for report in reports} == {"features"}


def test_provenance_names_no_place_on_this_computer():
    given = {
        "session": "/home/ann/search", "caches": "/data/a b/one, relative/two", "ranker": "tuned",
        "survey": "C:\\Users\\ann\\survey", "note": "weights from /home/ann/w.safetensors, see https://a.org/b",
    }  # fmt: skip
    assert public(given) == {
        "session": "search", "caches": "one, two", "ranker": "tuned", "survey": "survey",
        "note": "weights from w.safetensors, see https://a.org/b",
    }  # fmt: skip


# --------------------------------------------------------------------------------------------------------- bundle


def test_a_bundle_is_complete(session, bundle):
    path, table = bundle
    found = check_bundle(path)
    assert found.problems == ()
    assert (found.objects, found.title) == (6, "Odd <things> & more")
    about = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
    assert (about["format"], about["version"]) == ("astroanomaly-bundle", 1)
    ids = [str(object_id) for object_id in table["object_id"]]
    assert [item["object_id"] for item in about["objects"]] == ids
    votable = parse_single_table(path / "table.vot").to_table()
    table_fits = Table.read(path / "table.fits")
    for number, item in enumerate(about["objects"]):
        assert (votable["object_id"][number], votable["cutout"][number]) == (item["object_id"], item["cutout"])
        assert table_fits["picture"][number] == item["picture"]
        with fits.open(path / item["cutout"]) as hdus:
            np.testing.assert_array_equal(hdus["g"].data, session.cache[item["object_id"]].band("g"))
        with Image.open(path / item["picture"]) as picture:
            assert picture.size == (48, 48)
    done = subprocess.run(["sha256sum", "--strict", "-c", CHECKSUMS], cwd=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_bundle_names_no_place_and_nobody_of_this_computer(session, bundle):
    path, _ = bundle
    for item in path.rglob("*"):
        if item.is_file():
            content = item.read_bytes()
            for secret in (str(session.path.parent), "/home/ben"):
                assert secret.encode() not in content, item


def test_labels_of_a_bundle_are_taken_by_another_session(session, sky, tmp_path):
    session.write_bundle(tmp_path / "b", ids=list(session.cache.ids[:8]))
    other = Session.create(tmp_path / "s", sky[1], classes=["ring"], settings={"input": {"size": 32}})
    other.import_labels(tmp_path / "b" / "labels.csv")
    ours, theirs = session.labels.current(), other.labels.current()
    assert {i: one.label for i, one in theirs.items()} == {i: one.label for i, one in ours.items()}
    assert theirs[session.cache.ids[4]].notes == ours[session.cache.ids[4]].notes
    assert set(theirs[session.cache.ids[0]].votes) == {"annotator-1", "annotator-2"}


def test_cutouts_of_a_bundle_are_ingested_as_they_are(bundle, tmp_path):
    from astroanomaly import ingest

    ingest("fits", bundle[0] / "cutouts", out=tmp_path / "c")
    assert len(Cache.open(tmp_path / "c")) == 6


def test_an_archive_is_the_same_in_one_folder(session, bundle, tmp_path):
    session.write_bundle(tmp_path / "found.zip", top=6)
    found = check_bundle(tmp_path / "found.zip")
    assert (found.problems, found.objects) == ((), 6)
    with zipfile.ZipFile(tmp_path / "found.zip") as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {name.split("/")[0] for name in names} == {"found"}
        archive.extractall(tmp_path / "elsewhere")
    inside = {item.relative_to(bundle[0]).as_posix() for item in bundle[0].rglob("*") if item.is_file()}
    assert {name.partition("/")[2] for name in names} == inside
    assert check_bundle(tmp_path / "elsewhere" / "found").problems == ()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["elsewhere", "found.zip"]


def change(folder, kind):
    if kind == "changed":
        (folder / "report.html").write_text("something else")
    elif kind == "missing":
        (folder / "table.vot").unlink()
    elif kind == "added":
        (folder / "extra.exe").write_text("x")
    elif kind == "link":
        (folder / "labels.csv").unlink()
        (folder / "labels.csv").symlink_to("/etc/hostname")


@pytest.mark.parametrize("kind", ["changed", "missing", "added", "link"])
def test_what_was_done_to_a_bundle_is_told(bundle, tmp_path, kind):
    folder = shutil.copytree(bundle[0], tmp_path / "b")
    change(folder, kind)
    named = {"changed": "report.html", "missing": "table.vot", "added": "extra.exe", "link": "labels.csv"}[kind]
    (problem,) = check_bundle(folder).problems
    assert problem.startswith(f"{named}: ")


def test_what_is_no_bundle_or_a_newer_one_is_refused(bundle, tmp_path):
    with pytest.raises(UnreadableError, match="does not exist"):
        check_bundle(tmp_path / "nothing.zip")
    with pytest.raises(UnreadableError, match="no bundle"):
        check_bundle(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK nonsense")
    with pytest.raises(UnreadableError, match="neither a folder nor a zip archive"):
        check_bundle(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../evil", "x")
    with pytest.raises(UnreadableError, match="leads out of it"):
        check_bundle(tmp_path / "evil.zip")
    folder = shutil.copytree(bundle[0], tmp_path / "b")
    about = json.loads((folder / "bundle.json").read_text())
    for wrong, error in (
        ({"version": 2}, "newer"),
        ({"version": "1"}, "damaged"),
        ({"objects": 3}, "lists no objects"),
    ):
        (folder / "bundle.json").write_text(json.dumps(about | wrong))
        with pytest.raises(CacheError, match=error):
            check_bundle(folder)


def test_a_damaged_archive_is_told(session, tmp_path):
    session.write_bundle(tmp_path / "b.zip", top=2)
    content = bytearray((tmp_path / "b.zip").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "b.zip").write_bytes(content)
    assert check_bundle(tmp_path / "b.zip").problems


def test_a_bundle_is_written_whole_or_not_at_all(session, tmp_path, monkeypatch):
    def broken(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("astroanomaly.session.outputs.bundle.report", broken)
    for name in ("b", "b.zip"):
        with pytest.raises(StorageError, match="No space left"):
            session.write_bundle(tmp_path / name, top=2)
    assert list(tmp_path.iterdir()) == []
