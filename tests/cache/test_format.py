"""The specification of the cache is true: its examples read what the package writes, its names are the real ones."""

import json
import re

import h5py
import numpy as np
import pytest

from astroanomaly import Cache, CutoutBlock, Failure, Layout, Task
from astroanomaly.cache.scores import write_scores
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.cutting import tan_grid
from astroanomaly.records import ShardScores
from folders import ROOT

PAGE = (ROOT / "docs" / "cache-format.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def examples():
    found = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, found)
    return found


@pytest.fixture(params=["float32", "float16", "uint8"])
def folder(request, tmp_path):
    """Two shards of two blocks each, with grids, columns, an absent band and failures."""
    rng = np.random.default_rng(3)
    kind = "display" if request.param == "uint8" else "flux"
    layout = Layout(("g", "r"), 6, 5, request.param, kind, units=("nanomaggy", ""))
    tasks = [Task(f"task {n}", {"file": f"{n}.fits"}, {"object_id": np.array([f"a{n}", "é"])}) for n in range(4)]
    create_cache(tmp_path / "c", layout, tasks, {"source": "test", "inputs": [], "options": {}, "prefix": ""})
    for pair in (tasks[2:], tasks[:2]):
        with ShardWriter(tmp_path / "c", layout, compression="gzip" if pair is tasks else None) as writer:
            for task in pair:
                ordinal = tasks.index(task)
                writer.begin(ordinal, task.key)
                images = rng.normal(100, 30, (3, 2, 6, 5)).astype(np.float32)
                writer.add(
                    CutoutBlock(
                        ids=[f"object {ordinal}-{i} é" for i in range(3)],
                        images=images.astype(np.uint8) if kind == "display" else images,
                        bands=("r", "g") if ordinal % 2 else ("g", "r"),
                        ra=rng.uniform(0, 360, 3) if ordinal else None,
                        dec=rng.uniform(-90, 90, 3) if ordinal else None,
                        grid=tan_grid((10.0, -20.0 + ordinal), 0.5, (80, 100)) if ordinal < 3 else None,
                        offsets=rng.integers(-3, 50, (3, 2)),
                        columns={"mag/auto.é": rng.normal(20, 1, 3), "kind": np.array(["a", "", "ü"])},
                    )
                )
                writer.add(Failure(f"lost {ordinal}", "outside"))
                writer.commit()
    return tmp_path / "c"


def test_the_first_example_reads_what_the_package_reads(folder, examples):
    cache = Cache.open(folder)
    seen = []
    for path in folder.glob("shards/*.h5"):
        for object_id, pixels, wcs, offset in examples["read_shard"](path):
            ours = cache[object_id]
            seen.append(object_id)
            for band, plane in pixels.items():
                np.testing.assert_array_equal(plane, ours.band(band))
                assert plane.dtype == ours.data.dtype
            assert (wcs is None) == (ours.wcs is None)
            if wcs is not None:
                there, here = wcs.pixel_to_world(*offset), ours.wcs.pixel_to_world(0, 0)
                assert there.separation(here).mas < 1e-3
    assert sorted(seen) == sorted(cache.ids)
    assert len(seen) == 12


def test_the_second_example_computes_the_digest(folder, examples):
    assert examples["digest"](folder) == Cache.open(folder).digest()


def test_every_name_in_the_files_is_specified(folder, tmp_path):
    Cache.open(folder)
    for shard in Cache.open(folder).shards:
        write_scores(tmp_path / "s", ShardScores(shard.uuid, shard.ids, np.zeros((6, 2))), ("nominal", "anomaly"), "x")
    unknown = set()

    def check(name):
        if f"`{name}`" not in PAGE:
            unknown.add(name)

    def visit(file, top):
        for name in file.attrs:
            check(name)
        for name, item in file.items():
            whole = f"{top}{name}"
            if isinstance(item, h5py.Group):
                for attribute in item.attrs:
                    check(attribute)
                if not name.isdigit():
                    whole = "table/<name>" if whole.endswith("table") else whole
                visit(item, "" if name.isdigit() else f"{name}/")
            elif top not in ("columns/", "table/"):
                check(whole)

    files = [folder / "plan.h5", folder / "index.h5", *folder.glob("shards/*.h5"), *tmp_path.glob("s/*.h5")]
    assert len(files) == 6
    for path in files:
        with h5py.File(path) as file:
            visit(file, "")
            assert file.attrs["format"] in PAGE
    content = json.loads((folder / "cache.json").read_text())
    for name in (*content, *content["layout"], *content["request"]):
        check(name)
    assert unknown <= {"content"}, "a note on the payload, with no meaning for readers"


def test_sizes_and_types_are_those_of_the_tables(folder):
    """The rows of the table of a shard's datasets, checked one by one."""
    path = next(iter(folder.glob("shards/*.h5")))
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \| \(([^)]*)\) \| ([^|]*) \|", PAGE, re.MULTILINE)
    kinds = {"float64": "f8", "float32": "f4", "int64": "i8", "uint64": "u8", "int32": "i4", "uint8": "u1", "text": "S"}
    with h5py.File(path) as file:
        layout = json.loads(file.attrs["layout"])
        lengths = {"N": 6, "B": 2, "H": 6, "W": 5, "T": 2, "F": 2, "2": 2, "G": len(file["grids/end"])}
        checked = set()
        for names, shape, kind in rows:
            for name in re.findall("`([^`]+)`", names):
                if name not in file or not isinstance(file[name], h5py.Dataset):
                    continue
                axes = [axis.strip() for axis in shape.split(",") if axis.strip()]
                assert len(axes) == file[name].ndim, name
                for axis, length in zip(axes, file[name].shape, strict=True):
                    assert lengths.get(axis, length) == length, name
                wanted = layout["dtype"] if "layout" in kind else kinds[kind.strip()]
                dtype = file[name].dtype
                assert dtype.kind == "S" if wanted == "S" else dtype == np.dtype(wanted), name
                checked.add(name)
        assert len(checked) >= 15
