"""Source ``euclid``: cutouts from the mosaics of the Euclid survey, by position.

* **Archives.** ``esa``: the server cuts. ``irsa``: only the pixels needed are read from the public cloud.
  ``datalabs``: mosaics are read in place, memory-mapped. ``auto`` takes the first that works: in place if all mosaics
  are there, ESA, else IRSA. The archive is chosen before the first cutout, stored in the plan and never changed.
* **Objects.** Those of a catalogue, of ids of the MER catalogue, or of a part of the sky in it, down to a
  magnitude.
* **Mosaics** are found by position, grouped by tile, and matched to bands by name (`band_name`). Each object is cut
  from the tile that shows most of it.
* **Grids.** All bands of a tile share one grid, and cutouts are crops of it; where they do not, bands are resampled to
  an explicit TAN grid.
* **Failures.** A band that cannot be fetched makes the object a failure, which ``--retry-failed`` repeats. A place that
  no mosaic shows has no coverage. A band that a tile does not have is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from astroanomaly import (
    ConfigError,
    CutoutBlock,
    Download,
    Fact,
    Failure,
    Layout,
    Plan,
    Request,
    Task,
    hookimpl,
)
from astroanomaly.sky import size_in_pixels
from astroanomaly_plugins.euclid.cutouts import read_cutouts
from astroanomaly_plugins.euclid.mosaics import PIXEL_ARCSEC
from astroanomaly_plugins.euclid.options import EuclidOptions
from astroanomaly_plugins.euclid.plan import Planner
from astroanomaly_plugins.euclid.search import archive_of, describe_releases, find
from astroanomaly_plugins.mosaics.reading import read_tile
from astroanomaly_plugins.shared.failures import failure_tasks, read_failures

__all__ = ["EuclidOptions", "EuclidSource", "register_sources"]


class EuclidSource:
    """Euclid's mosaics at ESA, IRSA or on ESA Datalabs; see the module."""

    name = "euclid"
    summary = "the Euclid survey: ESA's archive, IRSA, or mosaics in place on ESA Datalabs"
    Options = EuclidOptions
    fetches = True

    def plan(self, request: Request, options: EuclidOptions) -> Plan:
        """Find positions, mosaics and the tile of every object; in the mode ``auto`` try one cutout.

        Raises
        ------
        ConfigError, CatalogError, BandError, FootprintError, FetchError
            If nothing sensible can be cut; the message says what there is and what to give.
        """
        if request.inputs:
            raise ConfigError(
                f"the source euclid takes no files ({request.inputs[0]}): give a table with --catalog, or say --mer-id "
                "or --cone"
            )
        if not options.size:
            raise ConfigError("the size of the cutouts is missing: --size 10arcsec or --size 64 (pixels of 0.1 arcsec)")
        size = size_in_pixels(options.size, PIXEL_ARCSEC)
        _check_choice(options)
        found = find(options, size)
        payload = {
            "via": found.via,
            "bands": list(options.names),
            "size": list(size),
            "nodata": None,
            "min_coverage": options.min_coverage,
            "environment": options.environment,
            "login": options.login,
        }
        planner = Planner(found, payload)
        known = set(found.blocks.first.ids.tolist()) if options.mer_id else set()
        unknown = [text for text in (str(int(text)) for text in options.mer_id) if text not in known]
        lost = failure_tasks("unknown", unknown, np.nan, np.nan, "not in the MER catalogue", "failed")
        layout = Layout(bands=options.names, height=size[0], width=size[1], dtype=options.dtype, units=planner.units)
        downloads: list[Download] = []
        facts: list[Fact] = []

        def tasks() -> Iterator[Task]:
            yield from planner.tasks()
            yield from lost
            downloads[:] = planner.downloads()
            facts[:] = planner.facts(layout)

        return Plan(list(tasks()) if found.blocks.whole else tasks(), layout, downloads, facts)

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Cut the objects of one task."""
        kind = task.payload["kind"]
        if kind in ("failures", "outside"):  # the latter in plans of version 0.1.0
            return read_failures(task)
        if kind == "tile":
            return read_tile(task)
        return read_cutouts(archive_of(task.payload["via"], task.payload["environment"], task.payload["login"]), task)

    def describe(self, options: EuclidOptions) -> list[Fact]:
        """Say which releases each archive has, and which one would be taken.

        Raises
        ------
        FetchError
            If no archive answers.
        """
        return describe_releases(options)


def _check_choice(options: EuclidOptions) -> None:
    choices = {"--catalog": options.catalog, "--mer-id": options.mer_id, "--tap": options.tap}
    given = [flag for flag, value in choices.items() if value]
    if len(given) > 1 or not (given or options.has_area or options.adql):
        named = " and ".join(given) or "nothing"
        raise ConfigError(
            f"which objects to cut is said by one of {', '.join(choices)}, or by --cone, --region, --moc or --adql of "
            f"the MER catalogue; {named} was given"
        )
    of_mer = not given and not options.adql
    if options.magnitude_limit is not None and not of_mer:
        raise ConfigError("--magnitude-limit belongs to --cone, --region or --moc, of the MER catalogue")
    if options.mer_id and options.has_area:
        raise ConfigError("--mer-id names objects one by one: leave out --cone, --region and --moc")
    if options.mer_id and options.where:
        raise ConfigError("--mer-id names objects one by one: leave out --where")


@hookimpl
def register_sources(register: Callable[[EuclidSource], None]) -> None:
    """Register the source ``euclid``."""
    register(EuclidSource())
