"""Source ``fits``: cutouts around catalogue positions from FITS mosaics, or a folder of ready-made FITS stamps.

* **Files.** Plain, .gz, .bz2, .fz, any number of extensions; folders are searched. Images that are a weight, rms, psf,
  quality, mask, variance or the like, by a word in the name of the extension or the file, are never bands unless
  ``--ext`` or ``--bands`` names them. Degenerate axes are dropped.
* **Bands and tiles.** Within a file, images on one grid are bands, on disjoint footprints tiles. Files that show the
  same area are bands of one tile, several areas are several tiles. How bands are named: `mosaics.bands`.
* **Grids.** Cutouts are integer crops of the tile's own grid. Bands on different grids, and all tiles if
  ``--pixel-scale`` is given, are resampled (bilinear) to an explicit TAN grid without distortions, north up.
* **Positions.** Images with a WCS are cut at sky positions; at pixel positions only where their columns are named.
* **Objects.** Each is cut once: from the tile that covers most of its cutout, then from that where it is farthest from
  the edge; if there are pixels without data, the other tiles are tried and the best covered cutout is kept.
* **Coverage.** NaN, ``--nodata`` and what lies beyond the edge is not covered, and is NaN. Padding of exactly one value
  along the edge of a mosaic is not covered either, but its pixels stay as they are. A cutout none of whose bands
  is covered to ``--min-coverage`` is a failure.
* **Without a catalogue** every image (with its bands) is one object, named by its path; its middle is its position.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import (
    Area,
    AstroAnomalyError,
    BandError,
    Catalog,
    CatalogError,
    ConfigError,
    CutoutBlock,
    Failure,
    Layout,
    Plan,
    Request,
    Task,
    UnreadableError,
    each_watched,
    hookimpl,
    is_hats,
    read_catalog,
)
from astroanomaly.sky import size_in_pixels
from astroanomaly_plugins.mosaics.auxiliary import auxiliary_fact, pair_auxiliary
from astroanomaly_plugins.mosaics.bands import BandRule, name_bands, sort_bands
from astroanomaly_plugins.mosaics.checksums import checksum_fact
from astroanomaly_plugins.mosaics.facts import image_facts, input_facts, object_facts, stamp_facts
from astroanomaly_plugins.mosaics.files import (
    Image,
    describe,
    refuse_logarithmic,
    scan,
    select,
    settle_auxiliary,
)
from astroanomaly_plugins.mosaics.listing import find_files
from astroanomaly_plugins.mosaics.options import FitsOptions
from astroanomaly_plugins.mosaics.placing import Placing, place
from astroanomaly_plugins.mosaics.reading import read_stamps, read_tile
from astroanomaly_plugins.mosaics.sized import MAX_PIXELS, object_sides, read_sized, side_fact
from astroanomaly_plugins.mosaics.tiles import Tile, areas_of, check_scales, group_images, make_tile
from astroanomaly_plugins.mosaics.without_images import what_instead
from astroanomaly_plugins.shared.columns import COLUMN, carried
from astroanomaly_plugins.shared.facts import size_fact
from astroanomaly_plugins.shared.failures import NO_POSITION, failure_tasks, read_failures

__all__ = ["FitsOptions", "FitsSource", "register_sources"]

_log = logging.getLogger(__name__)
_STAMPS_PER_TASK = 256
_ZERO_POINT = "zero_point_{}"  # column of a band: AB magnitude of one unit of flux


class FitsSource:
    """FITS mosaics with a catalogue, or FITS stamps; see the module."""

    name = "fits"
    summary = "FITS mosaics with a catalogue, or a folder of FITS stamps"
    Options = FitsOptions

    def plan(self, request: Request, options: FitsOptions) -> Plan:
        """Find images, bands, tiles and the tile of every object, by headers and WCS alone.

        Raises
        ------
        UnreadableError, BandError, CatalogError, FootprintError, ConfigError
            If nothing sensible can be cut; the message says what there is and what to give.
        """
        has_catalog = options.catalog is not None
        if has_catalog and not options.size:
            raise ConfigError("the size of the cutouts is missing: --size 64 (pixels) or --size 10arcsec")
        in_parts = isinstance(options.catalog, Path) and is_hats(options.catalog)
        catalog = _read_catalog(options) if has_catalog and not in_parts else None
        rule = BandRule(options.bands)
        leave_out = options.catalog if isinstance(options.catalog, Path) else None
        listing = find_files([*request.inputs, *rule.files], leave_out)
        images, broken = _scan_all(listing.files, stamps=not has_catalog)
        images = settle_auxiliary(images)
        if options.planes == "objects":
            images = [
                replace(image, alone=True, nameless=False) if image.plane is not None else image for image in images
            ]
        if options.extensions == "objects" and not has_catalog:
            images = [replace(image, alone=True, extension_band="") for image in images]
        chosen, given = _choose(images, options, rule)
        groups = group_images(chosen, stamps=not has_catalog, named=bool(rule))
        by_extension = bool(options.ext) and options.extensions == "bands"
        named, named_by, unnamed = name_bands(groups, given, stamps=not has_catalog, any_extension=by_extension)
        broken |= unnamed
        tiles = [make_tile(bands, options.pixel_scale) for bands in named]
        planes: list[str] = []
        if options.auxiliary:
            about = pair_auxiliary([tile.bands for tile in tiles], images, options.auxiliary)
            tiles = [replace(tile, auxiliary=mine) for tile, mine in zip(tiles, about, strict=True)]
            planes = list(dict.fromkeys(name for mine in about for name in mine))
        bands = tuple(rule.patterns) or sort_bands([band for tile in tiles for band in tile.bands])
        units = tuple(_unit_of(band, tiles) for band in bands)
        scale = check_scales(tiles)
        size = size_in_pixels(options.size, scale) if options.size else tiles[0].shape
        if in_parts:
            catalog = _read_catalog(options, areas_of(tiles, size))
        payload = {
            "bands": list(bands),
            "size": list(size),
            "nodata": options.nodata,
            "min_coverage": options.min_coverage,
        }
        if planes:
            payload["auxiliary"] = planes
        facts = [*image_facts(tiles, bands, units, named_by), size_fact(size, scale)]
        if catalog is None:
            tasks = _stamp_tasks(tiles, broken, payload, _zero_points(tiles, bands))
            facts = [*stamp_facts(tiles, len(broken)), *facts]
        else:
            sides = None
            if options.size_column:
                mean = None if scale is None else float(np.sqrt(np.prod(scale))) if isinstance(scale, tuple) else scale
                sides, unit = object_sides(catalog, options.size_column, options.size_factor, mean)
                facts.append(side_fact(sides, unit, options.size_column, options.size_rule, mean))
                rule_of_sizes = "pad" if mean is None else options.size_rule
                payload |= {"size_column": options.size_column, "size_rule": rule_of_sizes, "scale": mean or 1.0}
            placing = place(tiles, catalog, options, _reach(size, sides, payload))
            columns = carried(catalog.columns, options.carry)
            points = _zero_points(tiles, [band for band in bands if _ZERO_POINT.format(band) not in columns])
            tasks = _catalog_tasks(tiles, catalog, payload, columns, points, placing, broken, sides)
            facts = [*object_facts(tiles, catalog, placing), *facts]
        asked = "--bands" if rule else "--ext" if options.ext else ""
        facts += input_facts(listing, images, tiles, broken, asked)
        if planes:
            facts.append(auxiliary_fact([tile.auxiliary for tile in tiles], planes))
        if options.verify:
            facts.append(checksum_fact(image.path for tile in tiles for image in tile.bands.values()))
        layout = Layout(
            bands=bands,
            height=size[0],
            width=size[1],
            dtype=options.dtype,
            units=units,
            auxiliary=tuple(planes),
        )
        return Plan(tasks, layout, facts=facts)

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Cut the objects of one task."""
        kinds: dict[str, Callable[[Task], Iterator[Any]]] = {
            "tile": read_tile,
            "sized": read_sized,
            "stamps": read_stamps,
            "failures": read_failures,
        }
        return kinds[task.payload["kind"]](task)


def _scan_all(files: Sequence[tuple[Path, Path, bool]], *, stamps: bool) -> tuple[list[Image], dict[str, str]]:
    """List the images of all files; in a folder, and of several stamps, a broken file does not stop the others."""
    images: list[Image] = []
    broken: dict[str, str] = {}
    for (path, root, by_name), found in zip(files, each_watched(_scan, [file[:2] for file in files]), strict=True):
        if isinstance(found, AstroAnomalyError):
            if len(files) < 2 or (by_name and not stamps):
                raise found
            broken[path.relative_to(root).as_posix()] = str(found)
            _log.warning("%s", found)
            continue
        if not found and by_name:
            instead = what_instead(path)
            raise BandError(f"{path} holds no image of two axes{': ' if instead else ''}{instead}")
        images += found
    if not images:
        first = next(iter(broken.values()), "") or what_instead(files[0][0])
        names = ", ".join(str(path) for path, _, _ in files[:3]) + (" ..." if len(files) > 3 else "")
        raise UnreadableError(f"none of the {len(files)} files ({names}) holds an image{': ' + first if first else ''}")
    return images, broken


def _scan(file: tuple[Path, Path]) -> list[Image]:
    return scan(*file)


def _choose(images: list[Image], options: FitsOptions, rule: BandRule) -> tuple[list[Image], dict[Image, str]]:
    if rule:
        wanted = select(images, options.ext) if options.ext else images
        pairs = rule.select(wanted)
        refuse_logarithmic([image for image, _ in pairs])
        return [image for image, _ in pairs], dict(pairs)
    chosen = select(images, options.ext)
    if not chosen:
        what = f"--ext {','.join(options.ext)} matches none of these" if options.ext else "none of these is a band"
        way = "Choose with --ext NAME or --bands NAME=FILE[EXTENSION]"
        refuse_logarithmic([image for image in images if not image.auxiliary])
        if any(image.nameless for image in images):
            way = (
                "The header of the cube does not say what its planes are (BANDS = 'grz'). Name them, for all files as "
                "in --bands g=[0][0],r=[0][1] (extension, then plane, both from 0); or say --planes objects if each is "
                "a stamp"
            )
        raise BandError(f"{what}:{describe(images)}\n{way}")
    return chosen, {}


def _read_catalog(options: FitsOptions, areas: Sequence[Area] | None = None) -> Catalog:
    return read_catalog(
        options.catalog or "",
        ra=options.ra or None,
        dec=options.dec or None,
        x=options.x or None,
        y=options.y or None,
        id=options.id or None,
        frame=options.frame or None,
        unit=options.unit or None,
        areas=areas,
    )


def _reach(size: tuple[int, int], sides: np.ndarray | None, payload: Mapping[str, Any]) -> tuple[int, int]:
    """Return the height and width in pixels that the largest cutout takes of the images."""
    if sides is None or payload["size_rule"] == "pad":
        return size
    count = min(MAX_PIXELS, int(np.ceil(np.nanmax(sides) / payload["scale"])))
    return count, count


def _unit_of(band: str, tiles: Sequence[Tile]) -> str:
    units = list(dict.fromkeys(tile.bands[band].unit for tile in tiles if band in tile.bands))
    if len(units) > 1:
        _log.warning("band %s has different units in different images: %s", band, ", ".join(map(repr, units)))
    return units[0] if units else ""


def _zero_points(tiles: Sequence[Tile], bands: Sequence[str]) -> list[dict[str, float]]:
    """Columns of each tile with the zero point of each band, NaN where unknown; none at all where no header has one."""
    images = [[tile.bands.get(band) for band in bands] for tile in tiles]
    points = np.array([[image.zero_point if image else np.nan for image in row] for row in images])
    if not np.isfinite(points).any():
        return [{} for _ in tiles]
    return [dict(zip(map(_ZERO_POINT.format, bands), row, strict=True)) for row in points.tolist()]


# -------------------------------------------------------------------------------------------------------------- tasks


def _stamp_tasks(
    tiles: list[Tile], broken: dict[str, str], payload: dict[str, Any], points: list[dict[str, float]]
) -> list[Task]:
    """Make tasks of whole images, 256 of them each."""
    per_file: dict[Path, int] = {}
    for tile in tiles:
        per_file[tile.first.path] = per_file.get(tile.first.path, 0) + 1
    ids = []
    for tile in tiles:
        several = per_file[tile.first.path] > 1
        ids.append(f"{tile.first.relative}{tile.first.spot}" if several else tile.first.relative)
    counts = Counter([*ids, *broken])
    twice, times = counts.most_common(1)[0]
    if times > 1:
        raise CatalogError(
            f"two inputs hold a file {twice!r}, so their objects would have one id: give the folder above both"
        )
    order = np.argsort(np.array(ids), kind="stable")
    texts = [json.dumps(_plain(tile, more), sort_keys=True) for tile, more in zip(tiles, points, strict=True)]
    tasks = []
    for start in range(0, len(order), _STAMPS_PER_TASK):
        rows = order[start : start + _STAMPS_PER_TASK]
        table = {"id": np.array([ids[k] for k in rows]), "tile": np.array([texts[k] for k in rows])}
        tasks.append(Task(f"stamps-{start:08d}", {**payload, "kind": "stamps"}, table))
    if broken:
        tasks += failure_tasks("unreadable files", list(broken), np.nan, np.nan, list(broken.values()), "failed")
    return tasks


def _plain(tile: Tile, columns: dict[str, float]) -> dict[str, Any]:
    """Return what reading a tile needs, with columns of all that is cut there."""
    return {**tile.plain, "columns": columns} if columns else tile.plain


def _catalog_tasks(
    tiles: list[Tile],
    catalog: Catalog,
    payload: dict[str, Any],
    columns: dict[str, Any],
    points: list[dict[str, float]],
    placing: Placing,
    broken: Mapping[str, str],
    sides: np.ndarray | None,
) -> list[Task]:
    """Make one task per tile of the objects that are cut from it, and one of the objects on no tile.

    Where files could not be read, such an object may lie on one of them, so it may succeed another time.
    """
    ra, dec, found = placing.ra, placing.dec, placing.found
    placed = found.tile >= 0
    tasks = []
    for number, tile in enumerate(tiles):
        rows = np.flatnonzero(found.tile == number)
        if not len(rows):
            continue
        # in the order of the file, so that a part of a split task needs one strip of a large mosaic
        rows = rows[np.lexsort((found.x[rows], np.floor(found.y[rows])))]
        table: dict[str, Any] = {
            "id": catalog.ids[rows],
            "ra": ra[rows],
            "dec": dec[rows],
            "x": found.x[rows],
            "y": found.y[rows],
        }
        if sides is not None:
            table["side"] = sides[rows]
        others = sorted({other for k in rows.tolist() for other in found.others.get(k, ())})
        if others:
            local = {other: position for position, other in enumerate(others, 1)}
            table["others"] = np.array(
                [" ".join(str(local[other]) for other in found.others.get(k, ())) for k in rows.tolist()]
            )
        table.update({COLUMN + name: values[rows] for name, values in columns.items()})
        plain = [_plain(tiles[one], points[one]) for one in (number, *others)]
        tasks.append(Task(tile.key, {**payload, "kind": "tile" if sides is None else "sized", "tiles": plain}, table))
    rows = np.flatnonzero(~placed)
    known = placing.known[rows]
    outside = (
        f"outside all images that can be read; not {', '.join(list(broken)[:3])}" if broken else "outside all images"
    )
    reasons = np.where(known, outside, NO_POSITION).tolist()
    kinds = np.where(known, "failed" if broken else "no coverage", "no position").tolist()
    return [*tasks, *failure_tasks("outside", catalog.ids[rows], ra[rows], dec[rows], reasons, kinds)]


@hookimpl
def register_sources(register: Callable[[FitsSource], None]) -> None:
    """Register the source ``fits``."""
    register(FitsSource())
