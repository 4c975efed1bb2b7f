"""A simulated sky as the images of a VO data centre, and the catalogue of its objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from astropy.table import Table

from astroanomaly.demo.simulate import SimulatedSky, simulate

from .vo import VoProduct

__all__ = ["WAVELENGTHS", "VoSky", "make_sky"]

WAVELENGTHS = {"g": (400.0, 550.0), "r": (550.0, 700.0), "i": (690.0, 850.0)}


@dataclass(frozen=True)
class VoSky:
    """Two overlapping tiles in three bands, 0.1 arcsec a pixel."""

    made: SimulatedSky
    products: tuple[VoProduct, ...]

    @property
    def catalog(self) -> Path:
        return self.made.catalog

    @property
    def table(self) -> Table:
        return Table.read(self.catalog)


def make_sky(folder: Path, n_objects: int = 24) -> VoSky:
    made = simulate(folder / "sky", n_objects=n_objects, seed=3, tiles=2)
    products = tuple(
        VoProduct(path.stem, path, *WAVELENGTHS[path.stem.rpartition("_")[2]], instrument=f"SimCam-{path.stem[-1]}")
        for path in made.mosaics
    )
    return VoSky(made, products)
