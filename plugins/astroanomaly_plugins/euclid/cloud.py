"""A mosaic in cloud storage, of which only the needed pixels are read."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from astroanomaly import ConfigError, FetchError, Grid, UnreadableError, fetch
from astroanomaly.cutting import check_fits_stream, first_pixels, grid_from_hdu, quiet, sky_to_pixel
from astroanomaly_plugins.shared.buckets import bucket_endpoint, open_buckets

__all__ = ["RemoteImage", "host_of", "needs_cloud_package"]

_BLOCK_BYTES = 1_000_000


def needs_cloud_package() -> None:
    """Check that S3 can be read.

    Raises
    ------
    ConfigError
        Naming the extra to install.
    """
    try:
        import s3fs  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "IRSA's mosaics lie in Amazon's cloud, and the package that reads them is missing: install it with\n"
            "  pip install 'astroanomaly[cloud]'\nor use --via esa"
        ) from error


def host_of(address: str) -> str:
    """Return the host that serves an address; of a bucket, Amazon's or that of AWS_ENDPOINT_URL_S3."""
    if not address.startswith("s3:"):
        return address
    return bucket_endpoint() or f"{urlsplit(address).netloc}.s3.amazonaws.com"


class RemoteImage:
    """An image that is opened once, by whichever thread needs it first, and read by one thread at a time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._stream: Any = None
        self._hdulist: Any = None
        self._hdu: Any = None
        self._grid: Grid | None = None

    def cut(self, path: Path, ra: float, dec: float, size_hw: tuple[int, int]) -> None:
        """Write the window around a position to a FITS file, with the header of the whole and its WCS shifted.

        Raises
        ------
        FetchError
            If the position is not on the image, or the file is cut short.
        """
        from astropy.io import fits

        with self._lock:
            try:
                hdu, grid = self._open()
                before = self._bytes_read()
                left, bottom, right, top = _window(grid, ra, dec, size_hw)
                pixels = np.array(hdu.section[bottom:top, left:right])
                fetch.count_bytes(self._bytes_read() - before)
            except (EOFError, OSError, TypeError, ValueError) as error:
                self._forget()  # the next try opens it anew
                if isinstance(error, FileNotFoundError):
                    raise FetchError(
                        "the mosaic is not in the cloud", reason="the mosaic is not in the cloud"
                    ) from error
                of_reader = type(error) in (EOFError, OSError, TypeError, ValueError)  # as astropy raises them
                if not of_reader or getattr(error, "errno", None) is not None or error.__cause__ is not None:
                    raise  # of the connection
                reason = f"what came is no whole FITS file: {' '.join(str(error).split())}"
                raise FetchError(reason, retryable=True) from error
            except BaseException:
                self._forget()
                raise
            header = hdu.header.copy()
        for key in ("BSCALE", "BZERO", "BLANK"):
            header.remove(key, ignore_missing=True)
        header["CRPIX1"] -= left
        header["CRPIX2"] -= bottom
        with quiet():
            fits.writeto(path, pixels, header, output_verify="silentfix")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._forget()

    def _open(self) -> tuple[Any, Grid]:
        if self._hdu is None or self._grid is None:
            from astropy.io import fits

            self._stream = _stream(self.address)
            try:
                check_fits_stream(self._stream, int(self._stream.size or 0), "")
            except UnreadableError as error:
                reason = f"what came is no whole FITS file: {str(error).partition('as FITS: ')[2]}"
                raise FetchError(reason, retryable=True, reason=reason) from error
            self._stream.seek(0)
            with quiet():
                self._hdulist = fits.open(self._stream, lazy_load_hdus=True)
                number = 0 if self._hdulist[0].header.get("NAXIS", 0) else 1
                self._hdu = self._hdulist[number]
                self._grid = grid_from_hdu(self._hdu)
            if self._grid is None:
                raise FetchError("the mosaic has no WCS")
        return self._hdu, self._grid

    def _bytes_read(self) -> int:
        return int(getattr(getattr(self._stream, "cache", None), "total_requested_bytes", 0))

    def _forget(self) -> None:
        for part in (self._hdulist, self._stream):
            if part is not None:
                part.close()
        self._stream = self._hdulist = self._hdu = self._grid = None


def _window(grid: Grid, ra: float, dec: float, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the pixels ``left, bottom, right, top`` of a cutout that lie on the image."""
    x, y = sky_to_pixel(grid, [ra], [dec])
    if not (np.isfinite(x[0]) and np.isfinite(y[0])):
        raise FetchError("the mosaic does not show the position")
    (height, width), (rows, columns) = size_hw, grid.shape
    x0, y0 = int(first_pixels(x, width)[0]), int(first_pixels(y, height)[0])
    left, right = max(0, x0), min(columns, x0 + width)
    bottom, top = max(0, y0), min(rows, y0 + height)
    if left >= right or bottom >= top:
        raise FetchError("the mosaic does not show the position")
    return left, bottom, right, top


def _stream(address: str) -> Any:
    """Open a file in the cloud without an account; few and bounded retries, because `fetch` has its own."""
    if not address.startswith("s3:"):
        import fsspec

        return fsspec.open(address, "rb", block_size=_BLOCK_BYTES).open()
    needs_cloud_package()
    return open_buckets().open(address, "rb", block_size=_BLOCK_BYTES)
