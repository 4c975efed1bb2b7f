"""Encoded pictures inside HDF5 and Parquet files, as AnomalyMatch 1 and Hugging Face write them."""

import io

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from astroanomaly import UnreadableError, ingest

PIXELS = {f"p{k}.png": np.random.default_rng(k).integers(0, 255, (24, 24, 3), np.uint8) for k in range(7)}


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


FILES = {name: png(pixels) for name, pixels in PIXELS.items()}


def as_bytes_with_names(path):
    """One dataset of bytes, names and labels beside it."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("images", len(FILES), h5py.vlen_dtype(np.uint8))
        for k, content in enumerate(FILES.values()):
            data[k] = np.frombuffer(content, np.uint8)
        file.create_dataset("filenames", data=[name.encode() for name in FILES], dtype=h5py.string_dtype())
        file["label"] = np.arange(len(FILES))


def as_datasets(path):
    """Each picture is a dataset, whose name it has."""
    with h5py.File(path, "w") as file:
        for name, content in FILES.items():
            file[name] = np.frombuffer(content, np.uint8)


def as_hugging_face(path):
    """A column of bytes and path, in row groups of three."""
    rows = [{"bytes": content, "path": name} for name, content in FILES.items()]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(rows, kind), "label": pa.array(range(len(FILES)))})
    pq.write_table(table, path, row_group_size=3)


def as_binary_column(path):
    """A column of bytes, and one of names."""
    pq.write_table(pa.table({"name": list(FILES), "jpeg": list(FILES.values()), "label": range(len(FILES))}), path)


@pytest.mark.parametrize("write", [as_bytes_with_names, as_datasets, as_hugging_face, as_binary_column])
def test_every_picture_has_its_name_and_its_pixels(tmp_path, write):
    path = tmp_path / ("x.h5" if write in (as_bytes_with_names, as_datasets) else "x.parquet")
    write(path)
    cache = ingest("images", [path], out=tmp_path / "c", workers=1)
    assert sorted(cache.ids) == sorted(PIXELS)
    for number, (name, pixels) in enumerate(PIXELS.items()):
        np.testing.assert_array_equal(cache[name].data, pixels.transpose(2, 0, 1))
        if write is not as_datasets:
            assert int(cache[name].columns["label"]) == number
    files = cache.facts["files"].value
    assert files["found"] == files["used"] + files["replaced"] + files["left_out"] == len(PIXELS)


def test_one_bad_picture_is_one_failure(tmp_path):
    as_bytes_with_names(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["images"][3] = np.frombuffer(b"not a picture", np.uint8)
    cache = ingest("images", [tmp_path / "x.h5"], out=tmp_path / "c", workers=1)
    assert (len(cache), [failure.object_id for failure in cache.failures]) == (6, ["p3.png"])


def test_what_holds_no_pictures_or_leads_elsewhere_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((3, 4, 4))
    with pytest.raises(UnreadableError, match=r"no encoded pictures .* x \(3, 4, 4\) float64.*ingest arrays"):
        ingest("images", [tmp_path / "a.h5"], out=tmp_path / "c", workers=1)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["images"] = h5py.ExternalLink("a.h5", "x")
    with pytest.raises(UnreadableError, match="a link to another file"):
        ingest("images", [tmp_path / "b.h5"], out=tmp_path / "c", workers=1)
    pq.write_table(pa.table({"ra": [1.0]}), tmp_path / "t.parquet")
    with pytest.raises(UnreadableError, match=r"no column of encoded pictures .* ra \(double\)"):
        ingest("images", [tmp_path / "t.parquet"], out=tmp_path / "c", workers=1)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-30])
    with pytest.raises(UnreadableError, match="cannot be read as Parquet"):
        ingest("images", [tmp_path / "cut.parquet"], out=tmp_path / "c", workers=1)


def test_soft_links_inside_an_hdf5_file_are_followed(tmp_path):
    as_bytes_with_names(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        for name, link in (("images", "pictures"), ("filenames", "names")):
            file.move(name, f"v1/{name}_0")
            file[link] = h5py.SoftLink(f"/v1/{name}_0")
    cache = ingest("images", [tmp_path / "x.h5"], out=tmp_path / "c", workers=1)
    assert sorted(cache.ids) == sorted(PIXELS)
    as_datasets(tmp_path / "y.h5")
    with h5py.File(tmp_path / "y.h5", "a") as file:
        file["best/first"] = h5py.SoftLink("/p0.png")
    cache = ingest("images", [tmp_path / "y.h5"], out=tmp_path / "d", workers=1)
    assert sorted(cache.ids) == sorted(PIXELS)
