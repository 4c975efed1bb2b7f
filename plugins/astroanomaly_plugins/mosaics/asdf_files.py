"""Images in ASDF files, as Roman's: the array ``data`` with its GWCS as the WCS of a FITS image."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import AstroAnomalyError, ConfigError, UnreadableError, reading
from astroanomaly.cutting import quiet

__all__ = ["ASDF_START", "images_of_asdf"]

ASDF_START = b"#ASDF"
_NEEDED = "ASDF needs the packages asdf, gwcs and asdf-astropy: pip install 'astroanomaly[asdf]'"
_PLANES = {"data": "SCI", "err": "ERR", "dq": "DQ", "weight": "WHT", "var_poisson": "VAR_POISSON"}
_MAX_ERROR_MAS = 1.0  # of the WCS in FITS against the GWCS
_SAMPLES = 9  # along each side, at which they are compared
_MAX_NODES = 10_000_000  # of a tree
_ANY_PIX = 100.0  # error in pixels that gwcs is content with: it is checked here
_DEGREES = (1, 2, 3, 4, 5, 6)  # of the distortion


@contextlib.contextmanager
def images_of_asdf(path: Path) -> Iterator[Any]:
    """Open an ASDF file as HDUs: the array ``data`` and its kin (``err``, ``dq``, ``weight``) on the grid of its GWCS.

    They are looked for under ``roman``, else at the top. The GWCS is described by FITS (TAN with SIP) to 1 mas, which
    is checked over the image.

    Raises
    ------
    ConfigError
        If what it needs is not installed.
    UnreadableError
        If the file is damaged, holds no such array, leads to another file, or its GWCS is none that FITS can describe.
    """
    try:
        import asdf
        import asdf_astropy  # noqa: F401 - knows units and times
        import gwcs  # noqa: F401 - knows the WCS
    except ImportError as error:
        raise ConfigError(f"{path}: {_NEEDED}") from error
    try:
        with reading(path), quiet():
            _refuse_outside(asdf.util.load_yaml(path, tagged=True), path)
            with asdf.open(path, lazy_load=True, memmap=True) as file:
                yield _hdus(file.tree, path)
    except AstroAnomalyError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise UnreadableError(
            f"{path} cannot be read as ASDF: {lines[0] if lines else type(error).__name__}"
        ) from error


def _refuse_outside(tree: Any, path: Path) -> None:
    """Refuse arrays and references that lie in another file, by the plain tree."""
    waiting, seen = [tree], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > _MAX_NODES:
            raise UnreadableError(f"{path}: its tree is too large")
        if isinstance(node, dict):
            outside = isinstance(node.get("source"), str) and "datatype" in node
            if outside or "$ref" in node:
                raise UnreadableError(
                    f"{path} points to another file ({node.get('source') or node.get('$ref')}); it is not read"
                )
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _hdus(tree: Any, path: Path) -> Any:
    from astropy.io import fits

    root = tree.get("roman", tree)
    arrays = {name: root[name] for name in _PLANES if name in root and getattr(root[name], "ndim", 0) == 2}
    if "data" not in arrays:
        found = ", ".join(f"{key} {value.shape}" for key, value in root.items() if hasattr(value, "shape")) or "none"
        raise UnreadableError(f"{path} holds no image called data of two axes; arrays: {found}")
    meta = root.get("meta", {})
    header = fits.Header()
    wcs = meta.get("wcs", root.get("wcs"))
    if wcs is not None and hasattr(wcs, "pixel_to_world_values"):
        header = _fits_wcs(wcs, arrays["data"].shape, path)
    optical = meta.get("instrument", {}) if hasattr(meta, "get") else {}
    band = optical.get("optical_element") if hasattr(optical, "get") else None
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for name, array in arrays.items():
        values = np.asarray(getattr(array, "value", array))
        hdu = fits.ImageHDU(values, header.copy(), name=_PLANES[name])
        unit = getattr(array, "unit", None)
        if name == "data" and unit is not None:
            hdu.header["BUNIT"] = unit.to_string("fits")
        if band:
            hdu.header["FILTER"] = str(band)
        hdus.append(hdu)
    return hdus


def _fits_wcs(wcs: Any, shape: tuple[int, int], path: Path) -> Any:
    """Describe a GWCS by FITS, and check it over the image.

    Raises
    ------
    UnreadableError
        If no description is good to 1 mas.
    """
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS

    height, width = shape
    y, x = np.mgrid[0 : height - 1 : _SAMPLES * 1j, 0 : width - 1 : _SAMPLES * 1j].reshape(2, -1)
    right = SkyCoord(*wcs.pixel_to_world_values(x, y), unit="deg")
    worst = np.inf
    for degree in _DEGREES:
        try:
            header = wcs.to_fits_sip(
                bounding_box=((-0.5, width - 0.5), (-0.5, height - 0.5)), degree=degree, max_pix_error=_ANY_PIX,
                max_inv_pix_error=_ANY_PIX,
            )  # fmt: skip
        except (ValueError, TypeError, NotImplementedError) as error:
            raise UnreadableError(f"{path}: its GWCS cannot be described by FITS: {error}") from error
        fitted = SkyCoord(*WCS(header).all_pix2world(x, y, 0), unit="deg")
        worst = float(np.max(fitted.separation(right).mas))
        if worst <= _MAX_ERROR_MAS / 2:
            return header
    raise UnreadableError(f"{path}: FITS describes its GWCS to {worst:.1f} mas only, more than {_MAX_ERROR_MAS:g} mas")
