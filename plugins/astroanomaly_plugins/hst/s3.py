"""Read only the pixels needed of MAST products in the public bucket, anonymously: one open for many objects.

The bucket is reached through s3fs (the extra ``cloud``). ``AWS_ENDPOINT_URL_S3`` sets another address, as for any
client.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import ConfigError, FetchError, Grid, UnreadableError, fetch
from astroanomaly.cutting import check_fits_stream, quiet
from astroanomaly_plugins.hst.headers import HeaderInfo
from astroanomaly_plugins.hst.images import HstImage, Weighted, take
from astroanomaly_plugins.shared.buckets import bucket_endpoint, open_buckets

__all__ = ["BUCKET", "S3Product"]

BUCKET = "stpubdata"
_BLOCK_BYTES = 1_000_000  # that are read at once
_BLOCKS_IN_MEMORY = 64
_REGION = "us-east-1"


def host() -> str:
    """Return the host that is asked."""
    address = bucket_endpoint()
    return address or f"{BUCKET}.s3.amazonaws.com"


class S3Product:
    """A product in the bucket. It is opened when the first pixels are needed that are not kept yet.

    Parameters
    ----------
    name
        Its identifier.
    key
        Its path in the bucket.
    """

    def __init__(self, name: str, key: str) -> None:
        self.name, self.key = name, key
        self._lock = threading.Lock()
        self._file: Any = None
        self._hdulist: Any = None
        self._shown: tuple[Any, Any] = (None, None)
        self._counted = 0

    def __enter__(self) -> S3Product:
        return self

    def __exit__(self, *error: Any) -> None:
        self._close()

    def image(self) -> HstImage:
        """Return the image: headers and grid now, pixels when they are cut.

        Raises
        ------
        FetchError
            If it is not there, or the bucket cannot be reached.
        """
        what = f"headers of {self.name}"
        path = fetch.cached(
            {"service": "mast s3", "product": self.key, "position": "headers", "size": None},
            self._save_headers,
            host=host(),
            what=what,
            suffix=".txt",
        )
        content = fetch.json_of(path, what, dict)
        about = HeaderInfo(**{**content["about"], "zeropoint": float(content["about"]["zeropoint"])})
        shape = (int(content["shape"][0]), int(content["shape"][1]))
        grid = Grid(base64.b64decode(content["grid"]), shape)
        return HstImage.of(about, grid, Weighted(_Windows(self), None, about.factor, shape))

    def _save_headers(self, path: Path) -> None:
        with self._lock:
            try:
                about, grid, _, _ = take(self._opened(), self.name)
                self._count()
            except UnreadableError as error:
                self._close()
                raise FetchError(str(error), reason=str(error).partition(": ")[2]) from error
            except Exception:
                self._close()  # a file whose read has failed goes on failing
                raise
        plain = {**dataclasses.asdict(about), "zeropoint": str(about.zeropoint)}  # JSON has no NaN
        text = json.dumps({"about": plain, "shape": grid.shape, "grid": base64.b64encode(grid.fits).decode()})
        path.write_text(text, encoding="utf-8")

    def window(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Return a window of pixels, ``(y1 - y0, x1 - x0)`` float32, NaN where the weight is zero; as in the file."""
        path = fetch.cached(
            {"service": "mast s3", "product": self.key, "position": [y0, x0], "size": [y1 - y0, x1 - x0]},
            lambda path: self._save_window(path, y0, y1, x0, x1),
            host=host(),
            what=f"pixels of {self.name}",
            suffix=".npy",
        )
        pixels: np.ndarray = np.load(path)
        return pixels

    def _save_window(self, path: Path, y0: int, y1: int, x0: int, x1: int) -> None:
        with self._lock:
            try:
                self._opened()
                sci, weights = self._shown
                pixels = np.array(sci.section[y0:y1, x0:x1], np.float32)
                if weights is not None:
                    pixels[~(np.asarray(weights.section[y0:y1, x0:x1]) > 0)] = np.nan
            except (TypeError, ValueError, EOFError) as error:  # fewer bytes than the header says
                self._close()
                raise FetchError("the file is cut short: fewer pixels than its header says", retryable=True) from error
            except Exception:
                self._close()  # a file whose read has failed goes on failing
                raise
            self._count()
        if pixels.shape != (y1 - y0, x1 - x0):
            raise FetchError("fewer pixels came than were asked for", retryable=True)
        buffer = io.BytesIO()
        np.save(buffer, pixels)
        path.write_bytes(buffer.getvalue())

    def _opened(self) -> Any:
        from astropy.io import fits

        if self._hdulist is None:
            self._file = _buckets().open(
                f"{BUCKET}/{self.key}",
                "rb",
                block_size=_BLOCK_BYTES,
                cache_type="blockcache",
                cache_options={"maxblocks": _BLOCKS_IN_MEMORY},
            )
            head = self._file.read(80)
            if not head.startswith(b"SIMPLE  ="):
                self._file.close()
                fetch.is_fits(head or b"", self.name)
                raise FetchError("the answer is no FITS file", retryable=True)
            self._file.seek(0)
            check_fits_stream(self._file, int(self._file.size), self.name)
            self._file.seek(0)
            with quiet():
                self._hdulist = fits.open(self._file, memmap=False, lazy_load_hdus=True)
                sci, weights = take(self._hdulist, self.name)[2:]
            self._shown = (sci, weights)
        return self._hdulist

    def _count(self) -> None:
        """Count the bytes that came since the last time: whole blocks, each once."""
        came = int(self._file.cache.total_requested_bytes)
        fetch.count_bytes(came - self._counted)
        self._counted = came

    def _close(self) -> None:
        if self._hdulist is not None:
            self._hdulist.close()
        if self._file is not None:
            self._file.close()
        self._hdulist = self._file = None
        self._counted = 0


class _Windows:
    """Slices of a product become windows that are kept."""

    def __init__(self, product: S3Product) -> None:
        self._product = product

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        rows, columns = window
        return self._product.window(int(rows.start), int(rows.stop), int(columns.start), int(columns.stop))


def _buckets() -> Any:
    try:
        return open_buckets(_REGION)
    except ImportError as error:
        raise ConfigError("reading from the cloud needs the package s3fs: pip install 'astroanomaly[cloud]'") from error
