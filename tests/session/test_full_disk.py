"""A disk that is really full, for everything that is written: one clear error, nothing half-written, nothing lost."""

import contextlib
import hashlib
import os
import resource
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

from astroanomaly import Cache, Session, ingest
from astroanomaly.cache.plan import read_plan, write_plan
from astroanomaly.cache.schema import new_hdf5
from astroanomaly.errors import StorageError
from astroanomaly.files import write_json
from astroanomaly.learn.features.light_curve_files import POINT, write_light_curves
from astroanomaly.records import Task

SPACES = (0, 20_480)  # bytes left on the disk


class Disk:
    """A file system of its own, in memory, that can be filled up to some bytes."""

    def __init__(self, path):
        self.path = path
        self.filler = path / "filler"

    def fill(self, left=0):
        self.free()
        status = os.statvfs(self.path)
        with self.filler.open("wb") as file:
            file.write(bytes(max(0, status.f_bavail * status.f_frsize - left)))

    def free(self):
        self.filler.unlink(missing_ok=True)

    def content(self):
        """Digest of every file, by its path."""
        files = [path for path in self.path.rglob("*") if path.is_file() and path != self.filler]
        return {str(path.relative_to(self.path)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def mounted(tmp_path_factory):
    place = tmp_path_factory.mktemp("disk")
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True)
    if not done or done.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield Disk(place)
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def disk(mounted):
    mounted.free()
    for item in mounted.path.iterdir():
        (shutil.rmtree if item.is_dir() else os.unlink)(item)
    return mounted


@pytest.fixture(scope="module")
def searched(sky, tmp_path_factory):
    """A session beside its cache, labelled and scored; to be copied."""
    from conftest import TINY

    home = tmp_path_factory.mktemp("full")
    shutil.copytree(sky[1], home / "cache", ignore=shutil.ignore_patterns("derived"))
    session = Session.create(home / "search", home / "cache", settings=TINY)
    ids = list(session.cache.ids)
    session.label(ids[:5], "anomaly")
    session.label(ids[5:20], "nominal")
    session.train("probe")
    return home


OUTPUTS = {
    "catalogue.vot": lambda session, path: session.export(path, top=50, overwrite=True),
    "catalogue.fits": lambda session, path: session.export(path, top=50, overwrite=True),
    "catalogue.ecsv": lambda session, path: session.export(path, top=50, overwrite=True),
    "all.fits": lambda session, path: session.export_scores(path, overwrite=True),
    "all.parquet": lambda session, path: session.export_scores(path, overwrite=True),
    "labels.csv": lambda session, path: session.export_labels(path, overwrite=True),
    "report.html": lambda session, path: session.write_report(path, top=50, overwrite=True),
    "bundle.zip": lambda session, path: session.write_bundle(path, top=50, overwrite=True),
    "bundle": lambda session, path: session.write_bundle(path, top=50, overwrite=True),
    "cutouts": lambda session, path: session.write_cutouts(path, top=50, overwrite=True),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_written_for_others(searched, disk, name):
    session = Session.open(searched / "search")
    path, write = disk.path / name, OUTPUTS[name]
    write(session, path)
    before = disk.content()
    disk.fill()
    with pytest.raises(StorageError, match=r"could not be written: .*No space left on device; nothing half-written"):
        write(session, path)
    assert disk.content() == before
    disk.fill(4096)
    with contextlib.suppress(StorageError):  # a small table fits
        write(session, path)
    left = disk.content()
    assert set(left) == set(before)
    disk.free()
    write(session, path)
    assert set(disk.content()) == set(before)


def test_labels(searched, disk):
    session = Session.open(shutil.copytree(searched / "search", disk.path / "search"))
    ids = list(session.labels.current())
    said, before = {i: o.label for i, o in session.labels.current().items()}, disk.content()
    disk.fill()
    for _ in range(2):
        with pytest.raises(StorageError, match="nothing was written"):
            session.label(ids, "anomaly", note="x" * 5000)
    assert {i: o.label for i, o in session.labels.current().items()} == said
    assert disk.content() == before
    disk.free()
    session.label(ids, "anomaly")
    assert {o.label for o in session.labels.current().values()} == {"anomaly"}


@pytest.mark.parametrize("space", SPACES)
def test_features_scores_and_rounds(searched, disk, space):
    home = shutil.copytree(searched, disk.path / "home", ignore=shutil.ignore_patterns("derived", "features"))
    session = Session.open(home / "search")
    ids, scores = session.scores()
    before = disk.content()
    disk.fill(space)
    with pytest.raises(StorageError, match="No space left on device"):
        session.train("probe")
    assert [item.number for item in session.rounds] in ([1], [1, 2])  # trained, then not all is scored
    left = disk.content()
    assert before.items() <= left.items()
    assert not [name for name in left if ".tmp-" in name]
    assert session.last_round.number == 1
    disk.free()
    again = Session.open(session.path)
    again.train("probe")
    assert again.scores()[0] == ids
    np.testing.assert_allclose(again.scores()[1], scores, atol=1e-4)


def test_a_session_is_made_whole_or_not_at_all(sky, disk, tiny):
    for space in SPACES:
        disk.fill(space)
        with contextlib.suppress(StorageError):
            Session.create(disk.path / "search", sky[1], settings=tiny)
            shutil.rmtree(disk.path / "search")
        assert disk.content() == {}
    disk.fill()
    with pytest.raises(StorageError, match=r"No space left|disk is full"):
        Session.create(disk.path / "search", sky[1], settings=tiny)
    disk.free()
    Session.create(disk.path / "search", sky[1], settings=tiny)


@pytest.mark.parametrize("space", [200_000, 900_000])
def test_light_curves_that_do_not_fit_are_an_error_and_nothing_is_left(sky, disk, tiny, tmp_path, space):
    """Where measurements are taken, where they are sorted, and where they are written."""
    cache = Cache.open(sky[1])
    ids = np.repeat(list(cache.ids)[:40], 1000)
    table = Table({"object_id": ids, "mjd": 59000 + np.arange(40_000) / 100, "mag": np.full(40_000, 17.0)})
    table.write(tmp_path / "a.fits")
    disk.fill(space)
    with pytest.raises(StorageError, match=r"No space left|disk is full"):
        Session.create(disk.path / "search", cache, settings=tiny, light_curves={"c": tmp_path / "a.fits"})
    assert disk.content() == {}
    with pytest.raises(OSError, match="No space left"):
        write_light_curves(disk.path, ["a"], np.array([0, 100_000]), np.zeros(100_000, POINT))


@pytest.mark.parametrize("space", [0, 20_480, 131_072])
def test_an_ingest_goes_on_once_there_is_space(disk, tmp_path, space):
    rng = np.random.default_rng(1)
    for number in range(30):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / f"{number}.png")
    expected = ingest("images", tmp_path, out=tmp_path / "expected").digest()
    with contextlib.suppress(StorageError):
        disk.fill(space)
        ingest("images", tmp_path, out=disk.path / "cache", workers=1)
    assert not [name for name in disk.content() if ".tmp-" in name]
    disk.free()
    cache = ingest("images", tmp_path, out=disk.path / "cache", workers=1)
    assert cache.digest() == expected
    (disk.path / "cache" / "index.h5").unlink()  # it can be rebuilt, and is not needed
    disk.fill()
    assert Cache.open(disk.path / "cache").digest() == expected


def test_the_command_says_it_in_a_line(disk, tmp_path):
    """HDF5 has crashed at the end of Python here, after pages about its stack."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "one.png")
    disk.fill(8192)
    command = [sys.executable, "-m", "astroanomaly", "ingest", "images", tmp_path, "--out", disk.path / "cache"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    *before, line = done.stderr.splitlines()
    assert all(said.startswith("ingest: opening ") for said in before)
    assert line.startswith("astroanomaly: ")
    assert "No space left on device" in line
    assert disk.content() == {}


# --------------------------------------------------------------------------------------- as any computer can be asked


@contextlib.contextmanager
def largest_file(nbytes):
    """Let no file grow beyond some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill_hdf5(file):
    for number in range(1500):  # more than HDF5 keeps in memory
        group = file.create_group(f"{number:08d}")
        group.attrs["key"] = "k" * 100
        group["values"] = np.arange(100.0)


@pytest.mark.parametrize("limit", [0, 5000, 300_000])
def test_hdf5_survives_a_file_that_cannot_grow(tmp_path, limit):
    with pytest.raises(StorageError, match="File too large"), largest_file(limit), new_hdf5(tmp_path / "it.h5") as file:
        fill_hdf5(file)
    assert list(tmp_path.iterdir()) == []


def test_hdf5_reads_back_what_it_has_written(tmp_path):
    with new_hdf5(tmp_path / "it.h5") as file:
        fill_hdf5(file)
        file.create_dataset("images", data=np.arange(10**6, dtype=np.float32))
        file["images"][500:600] = 7
        assert file["images"][499:501].tolist() == [499, 7]
    with h5py.File(tmp_path / "it.h5") as file:
        assert file["00001499/values"][-1] == 99
        assert len(file) == 1501
        assert file["images"].id.get_offset() > 0  # it can be mapped into memory
        assert file["images"][()].sum() == pytest.approx(np.arange(10**6).sum() - 54950 + 700)


def test_an_error_of_ours_while_hdf5_is_written_stays_that_error(tmp_path):
    def half(limit):
        with largest_file(limit), new_hdf5(tmp_path / "it.h5") as file:
            file["a"] = np.zeros(1000)
            raise ZeroDivisionError

    for limit in (100, 10**9):
        with pytest.raises(ZeroDivisionError):
            half(limit)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_does_not_fit_ends_before_the_rest_is_planned(tmp_path):
    asked = []

    def tasks():
        for number in range(100_000):
            asked.append(number)
            yield Task(str(number), {"text": "x" * 1000})

    with pytest.raises(StorageError), largest_file(100_000):
        write_plan(tmp_path, tasks())
    assert len(asked) < 1000
    write_plan(tmp_path, [Task("a"), Task("b", {"c": 1})])
    assert [(task.key, dict(task.payload)) for _, task in read_plan(tmp_path)] == [("a", {}), ("b", {"c": 1})]


def test_a_checkpoint_is_whole_or_that_of_before(tmp_path):
    torch = pytest.importorskip("torch")
    from astroanomaly.learn.network.checkpoint import load_checkpoint, save_checkpoint

    path = tmp_path / "model.safetensors"
    save_checkpoint(path, {"a": torch.ones(3)}, {"name": "old"})
    with pytest.raises(StorageError, match="File too large"), largest_file(5000):
        save_checkpoint(path, {"a": torch.zeros(100_000)}, {"name": "new"})
    state, meta = load_checkpoint(path)
    assert (state["a"].tolist(), meta["name"]) == ([1, 1, 1], "old")
    assert [item.name for item in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_settings_file_is_whole_or_that_of_before(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(StorageError, match="File too large"), largest_file(10):
        write_json(tmp_path / "a.json", {"a": "x" * 100})
    assert (tmp_path / "a.json").read_text() == '{\n "a": 1\n}\n'
    assert len(list(tmp_path.iterdir())) == 1
