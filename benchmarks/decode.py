"""Pictures per second of the source `images` beside a bare Pillow loop: `python benchmarks/decode.py ARCHIVE.zip`."""

from __future__ import annotations

import io
import sys
import time
import zipfile

from PIL import Image

from astroanomaly import CutoutBlock, Request
from astroanomaly_plugins.images.source import PictureOptions, PictureSource


def bare_pillow(path: str) -> float:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith((".jpg", ".png"))]
        start = time.process_time()
        for name in names:
            Image.open(io.BytesIO(archive.read(name))).load()
        return len(names) / (time.process_time() - start)


def source(path: str) -> float:
    pictures = PictureSource()
    start = time.process_time()
    count = 0
    for task in pictures.plan(Request((path,)), PictureOptions()):
        count += sum(len(item) for item in pictures.read(task) if isinstance(item, CutoutBlock))
    return count / (time.process_time() - start)


def main() -> None:
    for path in sys.argv[1:]:
        print(f"{path}: pictures per second of CPU time, plan included")
        for _ in range(3):
            print(f"  bare Pillow loop {bare_pillow(path):7.0f}   source images {source(path):7.0f}")


if __name__ == "__main__":
    main()
