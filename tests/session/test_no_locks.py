"""Where the file system has no locks, neither flock nor those of SQLite: all works, one writer at a time."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from astroanomaly import Cache, Session, ingest
from programs import next_lines, running, start

LABEL = """
    import sys
    from astroanomaly.labels.log import LabelLog
    with LabelLog.open(sys.argv[1]) as log:
        for number in range(int(sys.argv[3])):
            log.verdict(f"{sys.argv[2]}-{number}", "anomaly", annotator=sys.argv[2])
            assert len(log.events()) > number
    print("done")
"""
HOLD_LOG = """
    import sys, time
    from astroanomaly.labels.log import LabelLog
    log = LabelLog.open(sys.argv[1])
    with log.transaction():
        log.verdict("half", "anomaly", annotator="killed")
        print("holds", flush=True)
        time.sleep(600)
"""
ASK_LOG = """
    import sys
    from astroanomaly.labels.log import LabelLog
    log = LabelLog.open(sys.argv[1], busy_s=30)
    print("opened", log.news(after=0), log.count_draws(), flush=True)
"""


def run(environment, *words):
    command = [sys.executable, "-m", "astroanomaly", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **environment})


@pytest.mark.parametrize("number", ["37", "38", "95"])
def test_several_write_labels_at_once_and_none_is_lost(new_session, no_flock, number):
    session = new_session()
    path = session.labels.path
    environment = {**no_flock, "NO_FLOCK_ERRNO": number}
    writers = [start(LABEL, path, name, 10, **environment) for name in ("ann", "bob", "cy")]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    for writer in writers:
        writer.stdout.close()
    events = session.labels.events()
    assert Counter(event.annotator for event in events) == {"ann": 10, "bob": 10, "cy": 10}
    assert [event.number for event in events] == list(range(1, 31))
    assert not list(session.path.glob("*.held"))


def test_a_writer_that_is_killed_keeps_nobody_out_and_leaves_no_half(new_session, no_flock):
    path = new_session().labels.path
    with running(HOLD_LOG, path, **no_flock) as holder:
        assert next_lines(holder, 1) == ["holds"]
        with running(ASK_LOG, path, **no_flock) as waiting:
            holder.kill()
            holder.wait(20)
            assert next_lines(waiting, 1) == ["opened [] 0"]


@pytest.mark.slow
def test_the_commands_work(sky, tmp_path, no_flock, tiny):
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(12):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(tmp_path / "pictures" / f"{number}.png")
    cache = tmp_path / "cache"
    done = run(no_flock, "ingest", "images", tmp_path / "pictures", "--out", cache)
    assert done.returncode == 0, done.stderr
    assert Cache.open(cache).digest() == ingest("images", tmp_path / "pictures", out=tmp_path / "usual").digest()
    session = Session.create(tmp_path / "search", cache, settings=tiny)
    table = tmp_path / "labels.csv"
    table.write_text("object_id,label\n" + "".join(f"{n}.png,{'anomaly' if n < 4 else 'nominal'}\n" for n in range(8)))
    for words in (
        ("labels", "import", session.path, table),
        ("train", session.path, "--ranker", "probe"),
        ("export", session.path, "--out", tmp_path / "found.csv", "--top", "5"),
    ):
        done = run(no_flock, *words)
        assert done.returncode == 0, done.stderr
    assert len(session.labels.current()) == 8
    assert session.last_round.ranker == "probe"
    held = list(tmp_path.rglob("*.held"))
    assert held == []

    # another ingest, of a machine that nobody can see from here
    shutil.copytree(cache, tmp_path / "shared")
    said = {"host": "01234567", "pid": 7, "started": "0", "token": "a", "machine": "node7", "since": "yesterday"}
    (tmp_path / "shared" / ".lock.held").write_text(json.dumps(said))
    done = run(no_flock, "ingest", "images", tmp_path / "pictures", "--out", tmp_path / "shared")
    assert done.returncode == 2
    assert "held by process 7 of node7 since yesterday" in done.stderr
    assert "no flock on this file system" in done.stderr
    assert "if that process has ended, remove this file" in done.stderr
    assert len([line for line in done.stderr.splitlines() if not line.endswith(" ...")]) == 1  # a slow one's first
