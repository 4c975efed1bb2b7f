"""The files of a cache and of its scores: HDF5, JSON, NumPy."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from astroanomaly import Cache, ingest
from astroanomaly.cache.file_digest import without_digest
from astroanomaly.cache.plan import read_description, read_facts, read_plan
from astroanomaly.cache.schema import verify_hdf5
from astroanomaly.cache.scores import read_positions, read_scores, write_scores
from astroanomaly.errors import DamagedError
from astroanomaly.learn.features.row_file import open_rows
from astroanomaly.records import ShardScores
from edits import CANARY, Edit, random_bytes, random_tree
from kind import Found, Kind, fingerprint

__all__ = ["CACHE_KINDS", "make_cache"]

_COUNT = 6


def make_cache(folder: Path) -> Path:
    """Make a cache of six cutouts of flux with a WCS and columns, and one failure."""
    rng = np.random.default_rng(11)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150, 2], [20, 20]
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    for band in "gr":
        header = wcs.to_header()
        header["FILTER"], header["BUNIT"] = band, "nJy"
        fits.PrimaryHDU(rng.normal(0, 1, (40, 40)).astype("f4"), header).writeto(folder / f"m_{band}.fits")
    x = np.linspace(6, 33, _COUNT)
    ra, dec = wcs.wcs_pix2world(np.append(x, 900), np.append(x, 900), 0)
    rows = [f"o{number},{a},{b},{20 + number},S{number}" for number, (a, b) in enumerate(zip(ra, dec, strict=True))]
    (folder / "objects.csv").write_text("\n".join(["id,ra,dec,mag,kind", *rows]) + "\n")
    files = [folder / "m_g.fits", folder / "m_r.fits"]
    ingest("fits", files, out=folder / "cache", catalog=folder / "objects.csv", size="8")
    return folder / "cache"


def _copy_outside(folder: Path) -> None:
    """Put what nobody may read beside the folder, where links of HDF5 could lead."""
    outside = folder / "outside"
    outside.mkdir()
    with h5py.File(outside / "secret.h5", "w") as file:
        for kind in ("f2", "f4", "f8", "u1", "i4", "i8"):
            file[kind] = np.full((_COUNT, 2, 8, 8), CANARY, kind)
    (outside / "secret.bin").write_bytes(np.full(4096, CANARY, "f4").tobytes())


def _seeds(target: str, folder: Path) -> dict[str, bytes]:
    cache = make_cache(folder)
    _copy_outside(folder)
    if target == "shards":
        path = next((cache / "shards").glob("*.h5"))
    elif target == "scores":
        shard = Cache.open(cache).shards[0]
        scores = ShardScores(shard.uuid, shard.ids, np.linspace(-3, 3, 2 * _COUNT).reshape(_COUNT, 2), "torch")
        write_scores(folder / "scores", scores, ("nominal", "anomaly"), "x", shard.positions)
        path = next((folder / "scores").glob("*.h5"))
    else:
        path = cache / target
    (folder / "target").write_text(path.relative_to(folder).as_posix())
    content = path.read_bytes()
    return {target: content} if path.suffix != ".h5" else {target: content, f"{target}, earlier": _without_digest(path)}


def _without_digest(path: Path) -> bytes:
    """Return an HDF5 file as earlier versions have written it: whoever wants to deceive leaves the digest out."""
    handle = io.BytesIO(path.read_bytes()[: without_digest(path)])
    with h5py.File(handle, "r+") as file:
        del file.attrs["digest"]
    return handle.getvalue()


def _edit_hdf5(rng: Random, name: str, content: bytes) -> list[Edit]:
    if rng.random() < 0.4:
        return random_tree(rng, content, "hdf5")
    return random_bytes(rng, content, head=4096)


def _put(folder: Path, content: bytes) -> Path:
    path = folder / (folder / "target").read_text()
    path.write_bytes(content)
    return path


def _read_cache(folder: Path, content: bytes, *, index: bool) -> Found:
    """Read all that a cache holds: its digest covers the content, and those of the files all else."""
    _put(folder, content)
    if not index:
        (folder / "cache" / "index.h5").unlink(missing_ok=True)
    cache = Cache.open(folder / "cache")
    looked = cache.check()
    if looked.damaged:
        raise DamagedError(looked.damaged[0].what)
    ids = list(cache.ids)
    covered = [cache.digest(), ids, *cache.positions]
    for cutout in cache.cutouts(ids):
        covered += [cutout.data, repr(cutout.coord), repr(cutout.wcs)]
    table = cache.columns(ids)
    covered += [(name, [str(value) for value in table[name].tolist()]) for name in sorted(table)]
    more = [object_id in cache for object_id in ids]
    more += [str(failure) for failure in cache.failures] + [str(cutout.coverage) for cutout in cache.cutouts(ids)]
    if not (folder / "digest").is_file():  # that of the undamaged cache, which is read first
        (folder / "digest").write_text(covered[0])
    same = covered[0] == (folder / "digest").read_text()
    return Found(
        fingerprint(*covered, *([] if same else more)),
        covered=same or not looked.without_digest,
    )


def _read_shard(folder: Path, name: str, content: bytes) -> Found:
    return _read_cache(folder, content, index=False)


def _read_index(folder: Path, name: str, content: bytes) -> Found:
    return _read_cache(folder, content, index=True)


def _read_plan(folder: Path, name: str, content: bytes) -> Found:
    _put(folder, content)
    tasks = [
        (task.key, task.payload_json, {key: np.asarray(values).tolist() for key, values in task.table.items()})
        for _, task in read_plan(folder / "cache")
    ]
    return Found(fingerprint(tasks), covered=verify_hdf5(folder / "cache" / "plan.h5"))


def _read_scores(folder: Path, name: str, content: bytes) -> Found:
    path = _put(folder, content)
    found, places = read_scores(folder / "scores", path.stem), read_positions(folder / "scores", path.stem)
    return Found(fingerprint(found.ids, found.log_odds, *places), covered=verify_hdf5(path))


# ------------------------------------------------------------------------------------------------- cache.json, features


def _edit_json(rng: Random, name: str, content: bytes) -> list[Edit]:
    return random_tree(rng, json.loads(content), "json") if rng.random() < 0.7 else random_bytes(rng, content)


def _read_description(folder: Path, name: str, content: bytes) -> Found:
    _put(folder, content)
    about = read_description(folder / "cache")
    cache = Cache.open(folder / "cache")
    values = [len(cache), cache.layout, sorted(cache.request), read_facts(about), repr(cache)]
    return Found(fingerprint(values, next(iter(cache.cutouts(["o0"]))).data))


def _row_seeds(folder: Path) -> dict[str, bytes]:
    path = folder / "rows.npy"
    np.save(path, np.linspace(-1, 1, 40).astype("f2").reshape(8, 5))
    return {"rows.npy": path.read_bytes()}


def _edit_rows(rng: Random, name: str, content: bytes) -> list[Edit]:
    words = (b"{'descr': '|O', 'fortran_order': False, 'shape': (8, 5), }", b"99999999999", b"'descr': '<f8'")
    return random_bytes(rng, content, head=128, words=words)


def _read_rows(folder: Path, name: str, content: bytes) -> Found:
    (folder / "rows").mkdir(exist_ok=True)
    for leftover in (folder / "rows").iterdir():
        leftover.unlink()
    (folder / "rows" / "rows.npy").write_bytes(content)
    rows = open_rows([folder / "rows"], "rows", 8)
    try:
        array = np.zeros(0) if rows.array is None else np.array(rows.array)
        return Found(fingerprint(rows.done, array), failures=8 - rows.done)  # what is damaged is computed again
    finally:
        rows.close()


def _kind(name: str, share: int, target: str, door: Callable[[Path, str, bytes], Found]) -> Kind:
    return Kind(name, share, partial(_seeds, target), _edit_json if target == "cache.json" else _edit_hdf5, door)


CACHE_KINDS = (
    _kind("shards", 20, "shards", _read_shard),
    _kind("index", 12, "index.h5", _read_index),
    _kind("plan", 20, "plan.h5", _read_plan),
    _kind("scores", 30, "scores", _read_scores),
    _kind("cache.json", 40, "cache.json", _read_description),
    Kind("features", 50, _row_seeds, _edit_rows, _read_rows),
)
