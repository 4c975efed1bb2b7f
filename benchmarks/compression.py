"""Sizes and speeds of lossless compression of cutouts: ``python benchmarks/compression.py IMAGE.fits PICTURES.zip``.

Each cutout of 150 px is a chunk. Filters beside those of HDF5 need the package hdf5plugin. MB/s of processor time, of
uncompressed pixels, one thread.
"""

import argparse
import io
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
from astropy.io import fits
from PIL import Image

SIZE, COUNT = 150, 300


def float_cutouts(path):
    """Cut an image at random positions: ``(n, 1, 150, 150)`` float32."""
    with fits.open(path) as hdus:
        data = next(h.data for h in hdus if getattr(h, "is_image", False) and h.data is not None and h.data.ndim == 2)
        rng = np.random.default_rng(0)
        y, x = (rng.integers(0, side - SIZE, COUNT) for side in data.shape)
        return np.stack([data[a : a + SIZE, b : b + SIZE] for a, b in zip(y, x, strict=True)]).astype("f4")[:, None]


def pictures(path):
    """Read the first pictures of a zip file: ``(n, 3, 150, 150)`` uint8."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".png"))][:COUNT]
        opened = [Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((SIZE, SIZE)) for name in names]
    return np.stack([np.asarray(one).transpose(2, 0, 1) for one in opened])


def ways():
    """Name the ways: arguments of `h5py.Group.create_dataset`."""
    made = {
        "gzip 4": {"compression": "gzip"},
        "shuffle, gzip 1": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
        "shuffle, gzip 4": {"compression": "gzip", "shuffle": True},
        "shuffle, lzf": {"compression": "lzf", "shuffle": True},
    }
    try:
        import hdf5plugin
    except ImportError:
        return made
    blosc = hdf5plugin.Blosc2
    return {
        **made,
        "zstd 3": hdf5plugin.Zstd(clevel=3),
        "shuffle, zstd 3": {"shuffle": True, **hdf5plugin.Zstd(clevel=3)},
        "bitshuffle, lz4": hdf5plugin.Bitshuffle(cname="lz4"),
        "bitshuffle, zstd": hdf5plugin.Bitshuffle(cname="zstd", clevel=3),
        "blosc2, bitshuffle, zstd": blosc(cname="zstd", clevel=5, filters=blosc.BITSHUFFLE),
    }


def measure(pixels, how, path):
    """Return size as a share of the pixels, and MB/s of writing and of reading."""
    start = time.process_time()
    with h5py.File(path, "w") as file:
        made = file.create_dataset("a", pixels.shape, pixels.dtype, chunks=(1, *pixels.shape[1:]), **how)
        for row, one in enumerate(pixels):
            made[row] = one
    wrote = time.process_time() - start
    with h5py.File(path) as file:
        start = time.process_time()
        for row in range(len(pixels)):
            found = file["a"][row]
        read = time.process_time() - start
    assert np.array_equal(found, pixels[-1], equal_nan=True)
    return path.stat().st_size / pixels.nbytes, pixels.nbytes / wrote / 1e6, pixels.nbytes / read / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="FITS images, or zip files of pictures")
    arguments = parser.parse_args()
    for path in arguments.paths:
        pixels = pictures(path) if path.suffix == ".zip" else float_cutouts(path)
        print(f"\n{path.name}: {len(pixels)} cutouts, {pixels.dtype}")
        print("| | size | write, MB/s | read, MB/s |\n|---|---|---|---|")
        for name, how in ways().items():
            with tempfile.TemporaryDirectory() as folder:
                size, wrote, read = measure(pixels, how, Path(folder) / "x.h5")
            print(f"| {name} | {size:.3f} | {wrote:.0f} | {read:.0f} |", flush=True)


if __name__ == "__main__":
    main()
