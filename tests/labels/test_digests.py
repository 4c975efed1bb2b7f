"""What SQLite does not notice: another bit in a row of the label file."""

import sqlite3

import numpy as np
import pytest

from astroanomaly.errors import AstroAnomalyError, LabelError
from astroanomaly.labels.log import LabelLog
from astroanomaly.records import ANOMALY, NOMINAL


def make(path):
    with LabelLog.create(path, (NOMINAL, ANOMALY, "lens")) as log:
        log.set_audit(["x1", "x2"])
        log.verdict(["galaxy-1", "galaxy-2"], ANOMALY, annotator="ann")
        log.verdict(["galaxy-3"], "lens", annotator="bob")
        log.note("galaxy-3", "arc to the north", annotator="bob")
        log.undo(annotator="ann")
        assert log.verify()
    return content_of(path)


def content_of(path):
    with LabelLog.open(path) as log:
        return log.events(), log.classes, log.audit


def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path):
    """Unused bytes of a page are no data: whatever is read is what was written, or the file is damaged."""
    path = tmp_path / "labels.sqlite"
    before = make(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    used = np.flatnonzero(np.frombuffer(whole, np.uint8))
    found = 0
    for place in rng.choice(used, 150, replace=False).tolist():
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            with LabelLog.open(path) as log:
                log.verify()
            assert content_of(path) == before, place
        except AstroAnomalyError:
            found += 1
    assert found > 50


@pytest.mark.parametrize("text", [b"galaxy-2", b"lens", b"arc to the north", b"x1", b"bob"])
def test_another_letter_in_a_row_is_found(tmp_path, text):
    path = tmp_path / "labels.sqlite"
    make(path)
    content = path.read_bytes()
    places = [k for k in range(len(content)) if content.startswith(text, k)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 2
        path.write_bytes(changed)
        with pytest.raises(LabelError, match="damaged"), LabelLog.open(path) as log:
            log.verify()


def test_a_file_of_an_earlier_version_gets_its_digests_with_the_next_event(tmp_path):
    path = tmp_path / "labels.sqlite"
    make(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE digest")
    connection.close()
    with LabelLog.open(path) as log:
        assert not log.verify()
        log.verdict(["galaxy-4"], NOMINAL, annotator="ann")
        assert log.verify()
