"""Exports: catalogues in every format, a report that is text and pictures only, SAMP to a real hub."""

import io
import json
import time
import zipfile
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from pyvo.samp import SAMPHubServer, SAMPIntegratedClient

from astroanomaly.app.background.samp import send_by_samp
from astroanomaly.app.review.exports import FORMATS, SELECTIONS, catalogue, file_content, select
from astroanomaly.app.review.shared_state import PROBE, SharedState
from astroanomaly.app.view.theme import palette
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.imaging.display import Display
from astroanomaly.session.outputs.links import links


@pytest.fixture
def shared(new_session):
    session = new_session(classes=["ring"])
    made = SharedState(session)
    made.publish(PROBE, np.arange(len(session.cache), dtype=np.float32), "26 verdicts")
    ids = list(session.cache.ids)
    made.labels.verdict(ids[:5], ["anomaly", "nominal", "ring", "anomaly", "nominal"], annotator="ann")
    made.labels.note(ids[2], "<b>look</b>", annotator="ann")
    made.refresh()
    yield made
    made.close()


def test_selections(shared):
    ids = list(shared.cache.ids)
    free = np.zeros(len(ids), bool)
    free[10:20] = True

    def chosen(which, **more):
        return select(shared, which, ids[30:33], free, PROBE, **{"top": 3, **more})

    assert chosen("anomalies") == [ids[3], ids[2], ids[0]]
    assert chosen("ring") == [ids[2]]
    assert chosen("nominal") == [ids[4], ids[1]]
    assert chosen("page") == [ids[32], ids[31], ids[30]]
    assert chosen("filter") == ids[19:9:-1]
    assert chosen("top") == ids[19:16:-1]
    with pytest.raises(ConfigError, match="no selection"):
        chosen("everything")
    assert chosen("selection", selected=ids[5:7]) == [ids[6], ids[5]]
    assert set(SELECTIONS) == {"anomalies", "page", "selection", "filter", "top"}


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_every_format_holds_the_selection(shared, suffix):
    ids = select(shared, "anomalies", (), np.zeros(0, bool), PROBE, 1)
    content = file_content(shared, catalogue(shared, ids, PROBE, 1.0), suffix, Display.for_pixels("flux"), palette)
    if suffix == ".vot":
        table = parse_single_table(io.BytesIO(content)).to_table()
        assert list(table["object_id"]) == ids
    elif suffix == ".fits":
        with fits.open(io.BytesIO(content)) as hdus:
            assert list(hdus[1].data["object_id"]) == ids
            assert "26 verdicts" in str(hdus[1].header["HISTORY"])
    elif suffix == "-cutouts.zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert len(archive.namelist()) == len(ids)
            with fits.open(io.BytesIO(archive.read(archive.namelist()[0]))) as hdus:
                assert hdus[0].header["OBJECT"] == ids[0]
                np.testing.assert_array_equal(hdus["g"].data, shared.cache[ids[0]].band("g"))
    elif suffix == "-bundle.zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            about = json.loads(archive.read("search-bundle/bundle.json"))
        assert [item["object_id"] for item in about["objects"]] == ids
    else:
        assert all(object_id in content.decode() for object_id in ids)


def test_an_export_says_which_labels_it_knows_and_no_path(shared):
    """Whatever the ranking knew: the labels in the table are those of the last event."""
    session = shared.session
    shared.publish(PROBE, np.arange(len(session.cache)), "26 verdicts", {"label_event": "1", "round": "1"})
    ids = list(shared.cache.ids)
    for word in ("anomaly", "nominal"):
        shared.labels.verdict(ids[7], word, annotator="ann")
        shared.refresh()
        table = catalogue(shared, ids[:3], PROBE, 1.0)
        assert table.meta["label_event"] == str(shared.labels.last_event)
    for suffix in (".vot", ".fits", ".ecsv", ".html"):
        content = file_content(shared, table, suffix, Display.for_pixels("flux"), palette)
        assert str(session.path.parent).encode() not in content
    assert (table.meta["session"], table.meta["caches"]) == (session.path.name, session.cache_folders[0].name)


def test_nothing_chosen_is_an_error_that_says_so(shared):
    with pytest.raises(ConfigError, match="nothing to export"):
        catalogue(shared, [], PROBE, 1.0)
    with pytest.raises(ConfigError, match="no format"):
        file_content(
            shared, catalogue(shared, list(shared.cache.ids)[:1], PROBE, 0), ".exe", Display.for_pixels("flux"), palette
        )


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.pictures, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.pictures += [value for name, value in attrs if name == "src"]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_is_pictures_and_escaped_text(shared):
    ids = list(shared.cache.ids)[:7]
    content = file_content(shared, catalogue(shared, ids, PROBE, 0.0), ".html", Display.for_pixels("flux"), palette)
    reader = Reader()
    reader.feed(content.decode("utf-8"))
    assert reader.tags.count("img") == 7
    assert all(picture.startswith("data:image/png;base64,") for picture in reader.pictures)
    assert "script" not in reader.tags
    assert "<b>look</b>" in "".join(reader.text)
    assert all(object_id in "".join(reader.text) for object_id in ids)


def test_a_table_is_sent_to_programs_on_the_desktop(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'hub').as_uri()}")
    table = catalogue(shared, list(shared.cache.ids)[:3], PROBE, 0.0)
    with pytest.raises(StorageError, match="no SAMP hub"):
        send_by_samp(table, "search")
    hub = SAMPHubServer(web_profile=False, addr="127.0.0.1", lockfile=str(tmp_path / "hub"), label="test")
    hub.start()
    try:
        with pytest.raises(StorageError, match="no program there takes tables"):
            send_by_samp(table, "search")
        topcat = SAMPIntegratedClient(name="a program that takes tables", addr="127.0.0.1")
        topcat.connect()
        try:
            received = []

            def take(private_key, sender, mtype, params, extra):
                received.append(params)

            topcat.bind_receive_notification("table.load.votable", take)
            reached, table_id = send_by_samp(table, "search")
            assert reached == 1
            end = time.monotonic() + 20
            while not received and time.monotonic() < end:
                time.sleep(0.05)
            assert received[0]["table-id"] == table_id
            loaded = parse_single_table(received[0]["url"].removeprefix("file://")).to_table()
            assert list(loaded["object_id"]) == list(table["object_id"])
        finally:
            topcat.disconnect()
    finally:
        hub.stop()


def test_links_need_a_position():
    assert links(float("nan"), 1.0) == []
    for _, address in links(10.5, -3.25, 30):
        assert address.startswith("https://")
        assert "10.500000" in address
        assert "3.250000" in address
        assert " " not in address
