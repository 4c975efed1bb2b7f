"""All scores as one table, block by block: what astropy reads back is what the session has, in memory of a shard."""

import contextlib
import csv
import io
import sqlite3
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pyarrow
import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from astroanomaly import Session
from astroanomaly.cache.scores import write_scores
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.errors import CatalogError, ConfigError, SessionError, StorageError
from astroanomaly.records import CutoutBlock, Layout, ShardScores, Task
from astroanomaly.session.rounds import new_round
from astroanomaly.session.survey.score_table import ScoreBlock, widest, write_score_table
from escaped import unescape

SUFFIXES = (".fits", ".parquet", ".csv")
IDS = ["tile 1/é 星", "=1+1", "<b>&amp;", 'comma, "quote"', "new\nline", " blank ", "back\\slash", "x" * 90, "bell\x07"]


def make_session(folder, shards=3, per_shard=20, ids=(), score=True):
    """Make a session on tiny pictures in several shards, with scores made up."""
    layout = Layout(("r",), 2, 2, dtype="uint8", pixel_kind="display")
    create_cache(folder / "cache", layout, [Task(f"t{number}") for number in range(shards)], {})
    rng = np.random.default_rng(0)
    names = [*ids, *(f"object-{k:07d}" for k in range(len(ids), shards * per_shard))]
    for number in range(shards):
        here = names[number * per_shard : (number + 1) * per_shard]
        ra, dec = rng.uniform(0, 360, len(here)), rng.uniform(-90, 90, len(here))
        ra[0] = dec[0] = np.nan
        with ShardWriter(folder / "cache", layout) as writer:
            writer.begin(number, f"t{number}")
            images = rng.integers(0, 255, (len(here), 1, 2, 2), dtype=np.uint8)
            writer.add(CutoutBlock(here, images, layout.bands, ra=ra, dec=dec))
            writer.commit()
    session = Session.create(folder / "session", folder / "cache", classes=["lens"], settings={"input": {"size": 32}})
    with new_round(folder / "session" / "rounds", "probe", 0) as draft:
        draft.recipe.update({"options": {}, "created": "now"})
    for shard in session.cache.shards if score else ():
        log_odds = rng.normal(0, 3, (len(shard), 3)).astype(np.float32)
        log_odds[1] = np.nan
        write_scores(draft.round.scores, ShardScores(shard.uuid, shard.ids, log_odds), session.classes, "probe")
    return session


def read(path):
    """Read a table with astropy alone, or with the csv module; warnings are errors."""
    if path.suffix == ".csv":
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8"), newline="")))
        return Table({name: [row[k] for row in rows[1:]] for k, name in enumerate(rows[0])})
    return Table.read(path, format=path.suffix[1:])


def texts(column):
    return [str(text) for text in np.ma.getdata(column).tolist()]


def numbers(column):
    return np.asarray(np.ma.getdata(column), np.float64)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_table_holds_the_scores_of_the_session(tmp_path, suffix):
    session = make_session(tmp_path, ids=IDS)
    session.label(["=1+1", "object-0000040"], "lens", annotator="ann")
    session.label("new\nline", "nominal", annotator="ann")
    session.label("new\nline", "anomaly", annotator="bob")
    with contextlib.closing(sqlite3.connect(session.labels.path)) as file, file:  # no ranker knows this class
        file.execute("INSERT INTO label_class VALUES (4, 'gravitational lens')")
    session.label("<b>&amp;", "gravitational lens", annotator="ann")
    reports = []
    assert session.export_scores(tmp_path / f"all{suffix}", progress=reports.append) == 60
    assert [(r.stage, r.done) for r in reports][-3:] == [("writing", 20), ("writing", 40), ("writing", 60)]
    table = read(tmp_path / f"all{suffix}")
    ids, log_odds = session.scores()
    assert table.colnames == [
        "object_id", "ra", "dec", "score", "log_odds_nominal", "log_odds_anomaly", "log_odds_lens", "label"
    ]  # fmt: skip
    assert [unescape(text) for text in texts(table["object_id"])] == ids
    ra, dec = session.cache.positions
    np.testing.assert_array_equal(numbers(table["ra"]), ra)
    np.testing.assert_array_equal(numbers(table["dec"]), dec)
    np.testing.assert_array_equal(numbers(table["score"]), -log_odds[:, 0])
    for number, name in enumerate(session.classes):
        np.testing.assert_array_equal(numbers(table[f"log_odds_{name}"]), log_odds[:, number])
    labels = dict(zip(ids, texts(table["label"]), strict=True))
    assert {i: label for i, label in labels.items() if label} == {
        "=1+1": "lens", "object-0000040": "lens", "new\nline": "disputed", "<b>&amp;": "gravitational lens"
    }  # fmt: skip


def test_fits_has_the_words_of_the_catalogue_and_right_checksums(tmp_path):
    session = make_session(tmp_path, per_shard=11, ids=IDS)
    session.export_scores(tmp_path / "all.fits")
    session.export(tmp_path / "top.fits", top=3)
    words = []
    for name in ("all", "top"):
        with fits.open(tmp_path / f"{name}.fits", checksum=True) as hdus:
            hdus.verify("exception")
            header = hdus[1].header
            columns = {header[f"TTYPE{k}"]: k for k in range(1, header["TFIELDS"] + 1)}
            keys = ("TUCD", "TCOMM", "TUNIT")
            words.append({n: [header.get(f"{key}{k}") for key in keys] for n, k in columns.items()})
            words[-1]["history"] = list(header["HISTORY"])
            if name == "all":
                assert header["NAXIS2"] == 33
                assert header["CHECKSUM"] != "0" * 16
    ours, theirs = words
    assert ours["ra"] == ["pos.eq.ra;meta.main", "right ascension (ICRS)", "deg"]
    assert ours == {name: theirs[name] for name in ours}
    content = bytearray((tmp_path / "all.fits").read_bytes())
    content[-2881] ^= 1  # one bit of the last rows
    (tmp_path / "all.fits").write_bytes(content)
    with (
        pytest.warns(UserWarning, match="Checksum verification failed"),
        pytest.warns(UserWarning, match="Datasum verification failed"),
        fits.open(tmp_path / "all.fits", checksum=True) as hdus,
    ):
        hdus[1].data


def test_parquet_has_a_row_group_for_each_shard_and_describes_its_columns(tmp_path):
    session = make_session(tmp_path)
    session.export_scores(tmp_path / "all.parquet")
    file = parquet.ParquetFile(tmp_path / "all.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [20, 20, 20]
    assert file.schema_arrow.field("ra").metadata[b"unit"] == b"deg"
    for form in ("parquet", "parquet.votable"):
        table = Table.read(tmp_path / "all.parquet", format=form)
        assert table["dec"].unit == u.deg
        assert table["score"].description.endswith("higher is more anomalous")
        assert table.meta["ranker"] == "probe"
    tree = votable.parse(io.BytesIO(file.schema_arrow.metadata[b"IVOA.VOTable-Parquet.content"]), verify="exception")
    fields = {field.name: field for field in tree.get_first_table().fields}
    assert list(fields) == file.schema_arrow.names
    assert (fields["ra"].ucd, fields["object_id"].arraysize) == ("pos.eq.ra;meta.main", "14*")


BLOCKS = st.lists(st.lists(st.text(min_size=1, max_size=9), max_size=4), max_size=4)


@settings(max_examples=60)
@given(BLOCKS, st.sampled_from(SUFFIXES))
def test_any_ids_in_any_blocks_are_read_back(tmp_path_factory, blocks, suffix):
    path = tmp_path_factory.mktemp("any") / f"all{suffix}"
    ids = [text for block in blocks for text in block]
    rng = np.random.default_rng(len(ids))
    odds = [rng.normal(size=(len(block), 2)).astype(np.float32) for block in blocks]
    given_blocks = (
        ScoreBlock(block, np.full(len(block), 1.5), np.full(len(block), np.nan), part, ["disputed"] * len(block))
        for block, part in zip(blocks, odds, strict=True)
    )
    classes = ["nominal", *(sorted({i for i in ids if i.isprintable()}, key=len)[-1:] or ["anomaly"])]
    steps = list(
        write_score_table(path, given_blocks, classes, total=len(ids), width=widest(ids), provenance={"note": "a"})
    )
    assert steps == np.cumsum([len(block) for block in blocks]).tolist()
    if suffix == ".fits":
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            assert len(hdus[1].data) == len(ids)
            assert path.stat().st_size % 2880 == 0
    table = read(path)
    assert len(table) == len(ids)
    if ids:
        assert list(map(unescape, texts(table["object_id"]))) == list(map(unescape, ids))
        assert set(texts(table["label"])) == {"disputed"}
        np.testing.assert_array_equal(numbers(table["score"]), -np.concatenate(odds)[:, 0])


def peak(folder, path):
    """Bytes at the peak beyond those of an open session: of Python and of Arrow."""
    session = Session.open(folder)
    assert session.cache.shards
    before = pyarrow.default_memory_pool()
    pool = pyarrow.proxy_memory_pool(before)
    pyarrow.set_memory_pool(pool)
    tracemalloc.start()
    try:
        session.export_scores(path, overwrite=True)
        return tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pyarrow.set_memory_pool(before)
        session.labels.close()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_shards(tmp_path):
    rows = 1000
    few, many = (make_session(tmp_path / str(shards), shards, rows).path for shards in (2, 12))
    for suffix in SUFFIXES:
        peak(few, tmp_path / f"warm{suffix}")  # what is imported once
        small, large = (peak(folder, tmp_path / f"all{suffix}") for folder in (few, many))
        # to hold no more than the positions of ten more shards would be 16 bytes an object
        assert large < small + 10 * rows * 10, suffix


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_does_not_fit_is_refused_and_nothing_is_left(tmp_path, suffix):
    path = tmp_path / f"all{suffix}"

    def write(ids, total, width, labels=None):
        zeros = np.zeros(len(ids))
        block = ScoreBlock(ids, zeros, zeros, np.zeros((len(ids), 2)), ids if labels is None else labels)
        return write_score_table(path, [block, block], ["nominal", "anomaly"], total=total, width=width, provenance={})

    for total in (3, 5):
        with pytest.raises(CatalogError, match=f"expected .*{total} objects"):
            list(write(["a", "b"], total, 1))
    with pytest.raises(CatalogError, match="each column as long as the others"):
        list(write(["a", "b"], 4, 1, labels=["a"]))
    if suffix == ".fits":
        with pytest.raises(CatalogError, match="object_id 'wide' has 4 characters, 3 were expected"):
            list(write(["a", "wide"], 4, 3))
    stopped = write(["a", "b"], 4, 1)
    assert next(stopped) == 2
    stopped.close()
    assert list(tmp_path.iterdir()) == []


def test_bad_requests_say_the_way_out(tmp_path, monkeypatch):
    session = make_session(tmp_path)
    kept = tmp_path / "kept.fits"
    kept.write_text("precious")
    with pytest.raises(ConfigError, match=r"expected one of \.fits, \.parquet, \.csv; did you mean '\.parquet'"):
        session.export_scores(tmp_path / "all.parket")
    with pytest.raises(StorageError, match="exists already"):
        session.export_scores(kept)
    assert kept.read_text() == "precious"
    with pytest.raises(StorageError, match="does not exist"):
        session.export_scores(tmp_path / "none" / "all.fits")
    session.export_scores(kept, overwrite=True)
    assert len(read(kept)) == 60
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'astroanomaly\[parquet\]'"):
        session.export_scores(tmp_path / "all.parquet")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["cache", "kept.fits", "session"]


def test_scores_of_a_part_or_of_other_objects_are_no_table(tmp_path):
    with pytest.raises(SessionError, match="has not scored all objects yet"):
        make_session(tmp_path / "part", score=False).export_scores(tmp_path / "all.csv")
    session = make_session(tmp_path / "other")
    last, shard = session.last_round, session.cache.shards[1]
    swapped = ShardScores(shard.uuid, shard.ids[::-1], np.zeros((20, 3), np.float32))
    write_scores(last.scores, swapped, session.classes, "probe")
    with pytest.raises(SessionError, match="are of other objects than those in it"):
        session.export_scores(tmp_path / "all.csv")
    assert not list(tmp_path.glob("*.csv"))


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    """A limit on the size of files stands for the full disk: writing fails in the middle."""
    script = f"""
        import resource, signal
        import numpy as np
        from astroanomaly.errors import StorageError
        from astroanomaly.session.survey.score_table import ScoreBlock, write_score_table
        n = 3000
        numbers = np.random.default_rng(0).normal(size=(n, 2))
        blocks = [ScoreBlock([str(i) for i in range(n)], *numbers.T, numbers, [""] * n)] * 4
        classes = ["nominal", "anomaly"]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))
        for suffix in {SUFFIXES!r}:
            path = {str(tmp_path)!r} + "/all" + suffix
            try:
                list(write_score_table(path, blocks, classes, total=4 * n, width=4, provenance={{}}))
            except StorageError as error:
                print(suffix)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == list(SUFFIXES), done.stderr
    assert list(tmp_path.iterdir()) == []
