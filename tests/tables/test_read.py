"""One door for every table: nothing in a file opens another file or an address, and a trap is refused, not run into."""

import csv
import gzip
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import requests
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from pyvo.dal import DALFormatError, TAPService

import hostile
from astroanomaly import (
    CatalogError,
    FetchError,
    ReadLimits,
    TextTable,
    UnreadableError,
    fetch,
    read_catalog,
    read_texts,
    read_votable,
)
from astroanomaly.parallel.limits import limited
from astroanomaly.tables import read as read_module
from astroanomaly.tables.read import read_table
from astroanomaly_plugins.shared.client_answers import check_answer
from astroanomaly_plugins.vo.bands import BandChoice
from astroanomaly_plugins.vo.products import read_products
from hostile_tables import bombs, pointing, votable
from programs import next_lines, running
from servers.base import NOT_FOUND, Answer, Server

HARMLESS = ("xinclude.vot", "stylesheet.vot", "schema.vot", "addresses.csv", "horizon.ecsv")  # labels all the same
TRY_ALL = """
import json, mmap, resource, sys, time
from pathlib import Path

import astroanomaly.errors, astropy.io.votable, astropy.io.ascii, astropy.io.fits, yaml
from astroanomaly import read_catalog, read_texts
from astroanomaly.labels.tables import read_truth

from astroanomaly.parallel.watch import MARK_BYTES, Marks, is_watched

is_watched(Marks(mmap.mmap(-1, MARK_BYTES), {}))  # whatever is parsed is parsed in this process, which is listened to
folder, secret, address = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
seen = []
def look(event, values):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request", "os.system"):
        seen.append(event)
    if event == "open" and str(values[0]).startswith(secret):
        seen.append(str(values[0]))
sys.addaudithook(look)
doors = [
    read_catalog,
    lambda path: read_truth(path, "label", [], ([], [])),
    lambda path: read_texts(path.read_bytes(), path.name),
]
told = {}
for path in sorted(folder.iterdir()):
    told[path.name] = []
    for door in doors:
        try:
            door(path)
            told[path.name].append("read")
        except astroanomaly.errors.AstroAnomalyError as error:
            told[path.name].append(type(error).__name__)
quiet = list(seen)
import urllib.request
urllib.request.urlopen(address)  # the proof that it would have been seen
open(secret)
print(json.dumps({"told": told, "quiet": quiet, "seen": seen}))
"""


class Listener(Server):
    def answer(self, asked):
        return Answer(b"data")


def try_all(tmp_path, files):
    """Read files by every door in a process of their own; return what came of each."""
    (tmp_path / "secret").write_bytes(b"private")
    folder = tmp_path / "tables"
    folder.mkdir()
    with Listener() as server:
        for name, content in files(server.url, f"file://{tmp_path}/secret").items():
            (folder / name).write_bytes(content)
        command = [sys.executable, "-c", TRY_ALL, folder, tmp_path / "secret", f"{server.url}/control"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        assert [asked.path for asked in server.asked] == ["/control"]
    found = json.loads(done.stdout)
    assert found["quiet"] == []
    assert {"socket.connect", "urllib.Request", str(tmp_path / "secret")} <= set(found["seen"])
    return found["told"]


def test_no_table_fetches_an_address_or_opens_another_file(tmp_path):
    def files(address, file):
        web, local = pointing(address), pointing(file)
        return web | {f"local-{name}": content for name, content in local.items()}

    told = try_all(tmp_path, files)
    assert len(told) > 70
    read = {name for name, ends in told.items() if "read" in ends}
    pointers = {name for name in told if not name.removeprefix("local-").startswith((*HARMLESS, "address.csv"))}
    assert not read & pointers, "a document that points elsewhere is refused at every door"
    assert set(HARMLESS) <= read


@pytest.mark.faults
def test_traps_are_refused_without_a_crash_and_within_their_memory(tmp_path):
    told = try_all(tmp_path, lambda *_: bombs())
    assert not (tmp_path / "hacked").exists()
    harmless = {"numbers.csv", "bars.txt", "daophot.txt", "fixed.txt", "heap.fits", "base64.fits"}
    assert {name for name, ends in told.items() if "read" in ends} <= harmless


def written(folder, form):
    """A table in a form that a library parses."""
    path = folder / f"t.{form}"
    Table({"id": ["a"], "ra": [1.0], "dec": [2.0]}).write(path, format={"vot": "votable"}.get(form, form))
    return path


@pytest.mark.parametrize("form", ["fits", "vot"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (hostile.hang_at, "reading took longer than"),
        (hostile.crash_at, r"reading crashed a library \(SIGSEGV\)"),
        (hostile.bloat_at, "more memory than there is"),
    ],
)
def test_a_table_that_a_library_dies_of_is_an_error_that_names_it(form, fault, words, tmp_path):
    path = written(tmp_path, form)
    limits = ReadLimits(file_seconds=0.5 if fault is hostile.hang_at else 60, memory_gb=1)
    with limited(limits), pytest.raises(UnreadableError, match=words) as caught:
        read_table(path, fault, lambda names: names[0])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("form", ["fits", "vot", "ecsv", "csv"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_table_is_the_same_whichever_process_has_parsed_it(form, packed, tmp_path):
    path = tmp_path / f"t.{form}"
    made = Table({"id": ["a", "b"], "ra": [1.0, 2.0], "n": [1, 2]}, units={"ra": "deg"}, descriptions={"ra": "of it"})
    if form != "csv":
        made["gap"] = MaskedColumn([1.5, 2.5], mask=[False, True], unit="mJy")
    made.write(path, format={"vot": "votable"}.get(form, form))
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    there = read_table(path, read_module._any, lambda names: "id")
    here = read_module._parsed((path, str(path), read_module._any, ""))
    here = here.table(lambda name: name == "id") if isinstance(here, TextTable) else here
    assert there.colnames == here.colnames == made.colnames
    for name in there.colnames:
        assert there[name].dtype.newbyteorder("=") == here[name].dtype.newbyteorder("=")
        assert (there[name].unit, there[name].description) == (here[name].unit, here[name].description)
        np.testing.assert_array_equal(np.ma.asarray(there[name]), np.ma.asarray(here[name]))
        np.testing.assert_array_equal(np.ma.getmaskarray(there[name]), np.ma.getmaskarray(here[name]))


def test_a_plain_text_table_is_read_without_another_process(tmp_path):
    (tmp_path / "t.csv").write_text("id,ra,dec\na,1,2\n")
    program = """
        import sys
        from pathlib import Path
        import psutil
        from astroanomaly import read_catalog
        print(read_catalog(sys.argv[1]).ids.tolist(), len(psutil.Process().children()), flush=True)
    """
    with running(program, tmp_path / "t.csv") as process:
        assert next_lines(process, 1) == ["['a'] 0"]


def test_an_address_is_not_taken_for_a_path(tmp_path):
    with Listener() as server:
        for address in (f"{server.url}/c.vot", "file:///etc/hostname", "ftp://127.0.0.1/c.fits"):
            with pytest.raises(UnreadableError, match="is an address and no file"):
                read_catalog(address)
        assert server.asked == []


@pytest.mark.parametrize("line", ["# 1 NUMBER", "# %ECSV 1.0"])
def test_a_text_of_one_line_is_not_taken_for_the_name_of_a_file(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given.cat").write_text(line)  # without an end of the line
    (tmp_path / line).write_text("# 1 NUMBER count\n# 2 RA ra\n# 3 DEC dec\n1 150.1 2.1\n")
    with pytest.raises((CatalogError, UnreadableError), match=r"given\.cat"):
        read_catalog(tmp_path / "given.cat")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_text_is_read_in_the_encoding_of_its_mark(tmp_path, codec, mark):
    path = tmp_path / "c.csv"
    path.write_bytes((mark + "id,ra,dec\nαβ,1,2\n").encode(codec))
    if mark or codec == "utf-8":
        assert read_catalog(path).ids.tolist() == ["αβ"]
    else:
        with pytest.raises(UnreadableError, match=r"null character|UTF-8"):
            read_catalog(path)


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_a_votable_is_read_in_the_encoding_it_declares(tmp_path, codec):
    text = votable("<TABLEDATA><TR><TD>ä</TD><TD>ü</TD></TR></TABLEDATA>", declared=codec)
    text = text.replace('"char"', '"unicodeChar"')
    (tmp_path / "c.vot").write_bytes(text.encode(codec))
    table = read_votable(tmp_path / "c.vot").get_first_table().to_table()
    assert (table["object_id"][0], table["label"][0]) == ("ä", "ü")
    assert read_texts(tmp_path / "c.vot", "c.vot").column(1) == ["ü"]


def test_arrays_of_numbers_in_the_header_of_ecsv_are_read(tmp_path):
    table = Table({"object_id": ["a"], "ra": [1.0], "dec": [2.0]}, meta={"bins": np.arange(3.0)})
    table.write(tmp_path / "c.ecsv")
    assert read_catalog(tmp_path / "c.ecsv").columns.meta["bins"].tolist() == [0, 1, 2]


# ------------------------------------------------------------------------------------------------------ text tables


def lines(tmp_path, text, name="t.txt"):
    (tmp_path / name).write_text(text, newline="")
    return read_table(tmp_path / name, lambda table: True, lambda names: names[0])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("sign", [",", ";", "\t", "|", " ", "   "])
def test_every_dialect_gives_the_same_table(tmp_path, sign, end):
    rows = [("id", "ra", "mag", "n"), ("007", "10.5", "20.1", "1"), ("b", "-11", "nan", "2")]
    text = "# a comment, with; signs|\n\n".replace("\n", end) + "".join(sign.join(row) + end for row in rows)
    table = lines(tmp_path, text)
    assert table.colnames == ["id", "ra", "mag", "n"]
    assert (table["id"].tolist(), table["ra"].tolist()) == (["007", "b"], [10.5, -11.0])
    assert (table["n"].dtype.kind, table["mag"].dtype.kind) == ("i", "f")


def test_a_table_as_vizier_writes_it(tmp_path):
    above = "#\n#Column\tName\t(A9)\n\nName\tRAJ2000\tRmag\n \tdeg\tmag\n----\t-------\t----\n"
    text = f"{above}o0\t150.1\t17.2\no1\t010.6\t \n"
    table = lines(tmp_path, text, "v.tsv")
    assert (table["Name"].tolist(), str(table["RAJ2000"].unit)) == (["o0", "o1"], "deg")
    assert (table["Rmag"][0], np.isnan(table["Rmag"][1])) == (17.2, True)


def test_names_may_stand_in_the_last_comment_or_nowhere(tmp_path):
    assert lines(tmp_path, "# made today\n# id ra dec\n1 2.5 3.5\n2 4.5 5.5\n").colnames == ["id", "ra", "dec"]
    assert lines(tmp_path, "# made, today\n1 2.5 3.5\n2 4.5 5.5\n").colnames == ["col1", "col2", "col3"]
    assert lines(tmp_path, ",ra\n0,2.5\n").colnames == ["col1", "ra"]  # as pandas writes it


def test_decimal_commas_and_frames_of_bars(tmp_path):
    assert lines(tmp_path, "id;ra\na;10,5\nb;11\n")["ra"].tolist() == [10.5, 11.0]
    assert lines(tmp_path, "| id | ra |\n|----|----|\n| a | 10.5 |\n")["ra"].tolist() == [10.5]


def test_quoted_values_hold_signs_and_line_ends(tmp_path):
    table = lines(tmp_path, 'id,note\na,"one, two\nthree"\nb,"say ""x"""\n')
    assert table["note"].tolist() == ["one, two\nthree", 'say "x"']


def test_a_few_long_texts_do_not_make_all_rows_wide(tmp_path):
    table = lines(tmp_path, "id,note\n" + "a,x\n" * 50_000 + f"b,{'y' * 100_000}\n")
    assert table["note"].dtype.kind == "O"
    assert table["note"][-1] == "y" * 100_000


@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))).map("x".__add__)] * 2),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=40, deadline=None)
def test_any_text_comes_back_from_csv(rows):
    written = io.StringIO()
    csv.writer(written).writerows([("first", "second"), *rows])
    found = read_texts(written.getvalue().encode(), "any.csv")
    assert list(zip(found.column(0), found.column(1), strict=True)) == [(a.strip(), b.strip()) for a, b in rows]


# ------------------------------------------------------------------------------------------------------ archives


class Tap(Server):
    """A TAP service whose answers point at another of its addresses."""

    def __init__(self, harmless=False):
        super().__init__()
        self.harmless = harmless

    def answer(self, asked):
        if asked.path == "/sync":
            text = votable() if self.harmless else pointing(self.url)["binary.vot"].decode()
            return Answer(text.encode(), "application/x-votable+xml")
        return NOT_FOUND


def query(server):
    session = requests.Session()
    session.hooks["response"].append(check_answer)
    return TAPService(server.url, session=session).run_sync("SELECT * FROM t").to_table()


def test_what_an_archive_sends_to_its_client_is_looked_at_first():
    with Tap(harmless=True) as server:
        assert query(server)["object_id"].tolist() == ["a"]
    with Tap() as server:
        with pytest.raises(DALFormatError) as caught:
            query(server)
        assert isinstance(caught.value.cause, FetchError)
        assert not caught.value.cause.retryable
        assert {asked.path for asked in server.asked} == {"/sync"}


def test_tables_of_archives_are_read_by_the_same_door(tmp_path):
    with Listener() as server:
        for name, content in pointing(server.url).items():
            (tmp_path / name).write_bytes(content)
            if name.startswith((*HARMLESS, "address.csv")):
                continue  # what is no pointer
            with pytest.raises(FetchError):
                fetch.is_votable(tmp_path / name, "the list of images")
            with pytest.raises(FetchError):
                read_products(tmp_path / name, BandChoice(()), "the list of images")
        assert server.asked == []
