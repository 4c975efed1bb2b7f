"""Who saw what in which order: kept while the app is used, bounded on disk, and written as a table."""

import json
import logging
import shutil

import pytest
from astropy.table import Table
from bokeh.document import Document

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.cli import main
from astroanomaly.errors import SessionError
from astroanomaly.labels.event_values import utc_now
from astroanomaly.records import ANOMALY, NOMINAL
from astroanomaly.session.campaign import showings
from astroanomaly.session.campaign.showings import SHOWINGS, Showing, ShowingLog, read_showings


@pytest.fixture
def open_page():
    made = []

    def start(session, annotator, **more):
        shared = SharedState(session, **more)
        page = Page(Document(), shared, Learner(shared, background=False), annotator)
        made.append(page)
        return page

    yield start
    for page in made:
        page.learner.close()
        page.shared.close()


def press(page, *keys):
    for key in keys:
        page.bus.update(key=key, n=page.bus.n + 1)


def written(page):
    page.learner.writer.write(lambda: None).result()  # what was asked for before is on disk
    return read_showings(page.shared.session.path)


def one(number, who="ann", ids=("a", "b"), **more):
    values = {"view": "page", "page": number, "first": 1, "ordering": "random", "probability": 0.5, "blind": False}
    return Showing(utc_now(), who, ids=ids, **values | more)


def test_pages_and_objects_are_noted_once_as_they_come_into_sight(new_session, open_page):
    page = open_page(new_session(), "ann")
    state = page.state
    (first,) = written(page)
    assert (first.annotator, first.view, first.page, first.first) == ("ann", "page", 1, 1)
    assert first.ids == state.page.ids
    assert (first.ordering, first.probability) == (state.page.last.ordering, state.page.last.probability)
    press(page, "n", "ArrowRight", "Enter")
    inspected = state.current
    press(page, "Enter", "i")
    found = written(page)
    assert [(one.view, one.ids, one.first) for one in found[1:]] == [("inspector", (inspected,), state.cursor + 1)]
    press(page, "PageDown")
    second = state.page.ids
    press(page, "PageUp")
    found = written(page)
    assert [(one.page, one.ids) for one in found[2:]] == [(2, second), (1, first.ids)]  # an earlier page again
    state.set_annotator("ben")
    page.flush()
    assert written(page)[-1].annotator == "ben"  # somebody else sees the page


def test_the_table_says_what_was_said_after_each_showing(new_session, open_page, tmp_path, capsys):
    session = new_session()
    page = open_page(session, "ann")
    ids = page.state.page.ids
    session.label(ids[3], ANOMALY, annotator="ben")  # somebody else
    press(page, "a", "n", "s", "PageDown", "PageUp", "Home", "n")
    written(page)
    assert main(["campaign", "showings", str(session.path), "--out", str(tmp_path / "shown.ecsv")]) == 0
    assert "shown to 1 person" in capsys.readouterr().out
    table = Table.read(tmp_path / "shown.ecsv").filled("")
    rows = table[table["page"] == 1]
    assert len(rows) == 2 * len(ids)
    assert list(rows["object_id"][: len(ids)]) == list(ids)
    assert list(rows["cell"][: len(ids)]) == list(range(1, len(ids) + 1))
    assert list(rows["verdict"][:4]) == [ANOMALY, NOMINAL, "skip", ""]
    assert [str(word) for word in rows["verdict"][len(ids) : len(ids) + 2]] == [NOMINAL, ""]  # on the second look
    assert all(str(row["time"]) <= str(row["verdict_time"]) for row in rows if row["verdict"])
    assert not any(rows["blind"])
    command = ["campaign", "showings", str(session.path), "--escape-formulas", "--out"]
    assert main([*command, str(tmp_path / "shown.vot")]) == 2
    page.state.set_annotator("=1+1")  # a name that a spreadsheet would run
    page.flush()
    written(page)
    assert main([*command, str(tmp_path / "shown.csv")]) == 0
    text = (tmp_path / "shown.csv").read_text()
    assert ",'=1+1," in text
    assert ",=1+1," not in text


def test_lists_are_noted_as_blind_and_nothing_at_all_if_so_asked(new_session, open_page):
    session = new_session()
    session.assign(["ann"], random=4)
    page = open_page(session, "ann")
    (found,) = written(page)
    assert found.blind
    assert found.ordering == "assigned"
    other = new_session("other")
    page = open_page(other, "ann", showings=False)
    assert written(page) == []
    assert not (other.path / SHOWINGS).exists()


def test_objects_that_are_hidden_on_an_open_page_are_noted_as_blind(new_session, open_page):
    session = new_session()
    ids = list(session.cache.ids)
    session.assign(["ann"], ids=ids[2:4])
    page = open_page(session, "ann")
    page.state.show(ids[:6], "chosen")
    page.flush()
    found = [one for one in written(page) if one.ordering == "chosen"]
    assert [(one.first, one.ids, one.blind) for one in found] == [
        (1, tuple(ids[:2]), False), (3, tuple(ids[2:4]), True), (5, tuple(ids[4:6]), False),
    ]  # fmt: skip


def test_the_account_is_bounded_and_the_oldest_goes_first(tmp_path):
    log = ShowingLog(tmp_path, max_file_bytes=2000, max_bytes=10_000)
    for number in range(300):
        log.append([one(number)])
    files = sorted((tmp_path / SHOWINGS).iterdir())
    assert sum(file.stat().st_size for file in files) <= 10_000 + 400
    kept = [showing.page for showing in read_showings(tmp_path)]
    assert kept == list(range(kept[0], 300))
    assert 20 < len(kept) < 100


def test_the_folder_and_its_files_may_be_removed_while_the_app_runs(tmp_path, monkeypatch):
    log = ShowingLog(tmp_path, max_file_bytes=400, max_bytes=2000)
    log.append([one(1)])
    shutil.rmtree(tmp_path / SHOWINGS)
    log.append([one(2)])
    assert [showing.page for showing in read_showings(tmp_path)] == [2]
    (file,) = (tmp_path / SHOWINGS).iterdir()
    file.unlink()
    log.append([one(3)])
    assert [showing.page for showing in read_showings(tmp_path)] == [3]
    gone = tmp_path / SHOWINGS / "0.jsonl"  # removed by another process after it was listed
    there = showings._files
    monkeypatch.setattr(showings, "_files", lambda folder: [gone, *there(folder)])
    for number in range(4, 30):
        log.append([one(number)])
    assert read_showings(tmp_path)[-1].page == 29


def test_several_processes_write_files_of_their_own(tmp_path):
    logs = [ShowingLog(tmp_path), ShowingLog(tmp_path)]
    for number in range(10):
        logs[number % 2].append([one(number, who=f"person {number % 2}")])
    assert len(list((tmp_path / SHOWINGS).iterdir())) == 2
    assert [showing.page for showing in read_showings(tmp_path)] == list(range(10))


def test_damaged_lines_are_left_out_and_a_disk_that_refuses_stops_nobody(tmp_path, caplog):
    log = ShowingLog(tmp_path)
    log.append([one(1)])
    (file,) = (tmp_path / SHOWINGS).iterdir()
    good = file.read_text()
    record = json.loads(good)
    wrong = [
        {}, {"time": "now"}, record | {"ids": "abc"}, record | {"ids": [1]}, record | {"page": "1"}, record | {"x": 1},
        record | {"time": "then"}, record | {"blind": 1}, record | {"probability": "much"}, [record],
    ]  # fmt: skip
    file.write_text(good + "".join(json.dumps(line) + "\n" for line in wrong) + "[" * 9000 + "\n" + good[:40])
    with caplog.at_level(logging.WARNING):
        assert [showing.page for showing in read_showings(tmp_path)] == [1]
    assert "12 damaged lines" in caplog.text
    (tmp_path / SHOWINGS / "9.jsonl").write_bytes(b"x" * (13 * 2**20))
    with pytest.raises(SessionError, match="more than is ever written"):
        read_showings(tmp_path)
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / SHOWINGS).write_text("a file where the folder would be")
    broken = ShowingLog(tmp_path / "blocked")
    with caplog.at_level(logging.WARNING):
        broken.append([one(1)])
        broken.append([one(2)])
    assert caplog.text.count("is not kept any more") == 1
    assert read_showings(tmp_path / "blocked") == []


def test_bundles_leave_the_account_out(new_session, open_page, tmp_path):
    session = new_session(computed=True)
    page = open_page(session, "a name of somebody")
    written(page)
    session.label(list(session.cache.ids)[:2], ANOMALY, annotator="a name of somebody")
    session.train("cold")
    session.write_bundle(tmp_path / "bundle", labelled="anomalies")
    names = [path.name for path in (tmp_path / "bundle").rglob("*")]
    assert SHOWINGS not in names
    assert not [name for name in names if name.endswith(".jsonl")]
