"""Source ``images``: folders, zip and tar archives of PNG, JPEG, TIFF, WebP, GIF, BMP and JPEG 2000 pictures.

Every picture becomes like all others by this rule:

* **Which files.** Suffixes .png .jpg .jpeg .jpe .jfif .tif .tiff .webp .gif .bmp .dib .jp2 .j2k .jpf .jpx in any case;
  hidden files and ``__MACOSX`` are left out, links to folders and links inside archives are not followed. The content
  decides, not the suffix: a JPEG called .png is read, a text called .jpg is a failure. Of an animated PNG the first
  frame is taken; a TIFF of several pages, and a GIF or WebP that moves, are failures (``pages``). Archives are not
  unpacked.
* **Id.** The path relative to what was given (for a single file its name), with forward slashes. In names from archives
  ``..``, a leading slash and drive letters are dropped; control characters and bytes that are no UTF-8 become ``%XX``.
* **Upright.** EXIF orientation is applied.
* **Colour.** Bands R, G, B or one band I. ``auto``: I if all of up to 64 evenly spaced pictures are grey by their
  headers, else R, G, B. Colours become grey as 0.299 R + 0.587 G + 0.114 B; grey becomes three equal bands.
  Transparency is composed over black; a fourth channel of a TIFF is transparency only where ``ExtraSamples`` says so
  and some pixel is opaque, else it is left out. Palettes are looked up; CMYK, YCbCr and LAB are converted by Pillow. An
  ICC profile of RGB or CMYK other than sRGB brings colours to sRGB (``icc``); profiles of grey pictures are not used.
* **Depth.** 8 bits stay. 16-bit grey is divided by 257, so that 65535 becomes 255 (12-bit TIFF by 4095/255); or
  stretched per picture between its percentiles 0.5 and 99.8 with ``sixteen_bit=percentile``. 16-bit colours keep their
  upper 8 bits. Floating-point and 32-bit pictures have no natural white: they need ``percentile`` or ``kind=flux``.
  ``kind=flux`` keeps the numbers of the file as float32, unstretched (8-bit pictures: 0 to 255).
* **Size.** The most common size among the same headers (of equally common ones that of median area), or a square of
  ``size`` pixels. A picture of this size is not touched. Others are resized bicubically with antialiasing and their
  aspect kept: ``pad`` fits the whole picture in and centres it on black (NaN for flux); ``crop`` fills the frame with
  the centre. With ``center`` a square of so many of the picture's own pixels is cut out of its middle instead,
  without resampling (by half a pixel up and left where sizes differ by an odd number); a smaller picture is centred
  on black (NaN for flux) by ``pad``, and a failure by ``crop``. Large JPEGs are decoded in full: decoding them at
  reduced size would give slightly different pixels.
* **Failures.** Files that are empty, cut short, damaged or mislabelled, or beyond ``max_pixels`` or ``max_file_mb``,
  become failures with their reason.
* **Table.** The columns of a table ride along (option ``table``); its positions, found as in a catalogue or named by
  ``ra``, ``dec``, ``frame`` and ``unit``, become those of the cutouts.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ImageFile

from astroanomaly import (
    AstroAnomalyError,
    BudgetError,
    CatalogError,
    ConfigError,
    CutoutBlock,
    Fact,
    Failure,
    Layout,
    Plan,
    Request,
    Task,
    UnreadableError,
    each_watched,
    hookimpl,
    reading,
)
from astroanomaly_plugins.images.columns import POSITION_NAMES, ride_along
from astroanomaly_plugins.images.files import NO_FILES, SUFFIXES, THE_TABLE, Listing, list_input
from astroanomaly_plugins.images.members import Container, Place, open_container
from astroanomaly_plugins.images.pixels import PictureError, PixelRule, decode, quiet
from astroanomaly_plugins.images.rule import PictureOptions, find_rule
from astroanomaly_plugins.shared.columns import COLUMN
from astroanomaly_plugins.shared.facts import band_fact, left_out_facts, object_fact, size_fact

__all__ = ["PictureOptions", "PictureSource", "register_sources"]

_log = logging.getLogger(__name__)
_PICTURES_PER_TASK = 1000
_BLOCK_BYTES = 16 * 2**20
_PLACE_NAMES = ("offset", "nbytes", "stored", "crc32", "method")
_UNFIT_CHARACTERS = re.compile(
    "[\x00-\x1f\x7f\ud800-\udfff]"
)  # control characters, and bytes of a name that are no UTF-8


class PictureSource:
    """Pictures from folders and archives; see the module for the rule that makes them alike."""

    name = "images"
    summary = "PNG, JPEG, TIFF, WebP and other pictures from folders, .zip and .tar archives"
    Options = PictureOptions

    def __init__(self) -> None:
        self._streams: dict[str, BinaryIO] = {}  # compressed tars, left where the last task ended

    def __reduce__(self) -> tuple[Callable[[], PictureSource], tuple[()]]:
        return PictureSource, ()  # open files stay in their process

    def plan(self, request: Request, options: PictureOptions) -> Plan:
        """List the pictures, sample their headers, match the table. Decodes no pixels.

        Raises
        ------
        UnreadableError
            If an input is missing, damaged, encrypted or without pictures, or if no picture can be read.
        CatalogError
            If two pictures have one id, or the table does not fit.
        ConfigError
            If the pictures need another option.
        """
        if not request.inputs:
            raise UnreadableError("no pictures were given: name a folder, an archive or picture files")
        listings = _list_inputs(request.inputs)
        ids = _unique_ids(listings)
        rule = find_rule(listings, options)
        columns, of_table = ride_along(listings, ids, options.table, options.max_bytes, options.columns)
        layout = Layout(rule.bands, rule.height, rule.width, str(rule.dtype), rule.kind)
        facts = [*_facts(listings, rule, columns), *of_table]
        return Plan(_tasks(listings, ids, rule, columns, options), layout, facts=facts)

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Decode the pictures of one task.

        Raises
        ------
        UnreadableError
            If the archive is gone, changed or damaged as a whole.
        """
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            raise ConfigError(
                "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: half pictures would pass for whole; unset it"
            )
        rule = PixelRule(**task.payload["rule"])
        container = Container(**task.payload["container"])
        step = max(1, _BLOCK_BYTES // (len(rule.bands) * rule.height * rule.width * rule.dtype.itemsize))
        with open_container(container, task.payload["max_bytes"], self._streams) as fetch:
            for start in range(0, len(task), step):
                yield from _read_rows(task, container, rule, fetch, range(start, min(start + step, len(task))))


@hookimpl
def register_sources(register: Callable[[Any], None]) -> None:
    """Register the source ``images``."""
    register(PictureSource())


# --------------------------------------------------------------------------------------------------------- listing


def _list_inputs(inputs: Sequence[str]) -> list[Listing]:
    """List every input; neighbouring single files become one listing."""
    listings: list[Listing] = []
    found = each_watched(list_input, [Path(item).absolute() for item in inputs])
    for item, listing in zip(inputs, found, strict=True):
        if isinstance(listing, AstroAnomalyError):
            raise listing
        if not listing.members:
            raise UnreadableError(_no_pictures(listing))
        if listing.skipped:
            _log.info("%s: left out %s", item, _counts(listing.skipped))
        if listing.container.kind == "files" and listings and listings[-1].container.kind == "files":
            listings[-1].members.extend(listing.members)
            listings[-1].total += listing.total
        else:
            listings.append(listing)
    return listings


def _no_pictures(listing: Listing) -> str:
    found = _counts(listing.skipped) or "nothing"
    way_out = ""
    if any(suffix.startswith((".fit", ".fz")) for suffix in listing.skipped):
        way_out = "; for FITS files use `astroanomaly ingest fits`"
    elif any(suffix in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz") for suffix in listing.skipped):
        way_out = "; archives inside are not opened: give each of them by name"
    return f"{listing.container.path} holds no pictures: looked for {' '.join(SUFFIXES)}, found {found}{way_out}"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common(8))


def _unique_ids(listings: list[Listing]) -> list[str]:
    """Return the ids of all pictures, one listing after another.

    Raises
    ------
    CatalogError
        If two pictures have the same one.
    """
    ids: list[str] = []
    for listing in listings:
        ids.extend(_clean_id(member, listing.container.kind) for member in listing.members)
    if len(set(ids)) < len(ids):
        owners = [f"{listing.container.path}: {member}" for listing in listings for member in listing.members]
        first: dict[str, int] = {}
        for number, object_id in enumerate(ids):
            if object_id in first:
                raise CatalogError(
                    f"two pictures have the id {object_id!r}: {owners[first[object_id]]} and {owners[number]}. Ingest "
                    "their common parent folder, or each input into a cache of its own with --prefix"
                )
            first[object_id] = number
    return ids


def _clean_id(member: str, kind: str) -> str:
    """Make a safe relative path of a member's name, which in an archive can be anything."""
    if kind == "files":
        member = Path(member).name
    elif kind == "zip":
        member = re.sub("^[A-Za-z]:", "", member.replace("\\", "/"))  # written under Windows
    if kind != "folder":
        member = "/".join(part for part in member.split("/") if part not in ("", ".", ".."))
    return _UNFIT_CHARACTERS.sub(
        lambda sign: "".join(f"%{byte:02X}" for byte in sign[0].encode("utf-8", "surrogateescape")), member
    )


# --------------------------------------------------------------------------------------------------- tasks, reading


def _facts(listings: list[Listing], rule: PixelRule, columns: dict[str, np.ndarray]) -> list[Fact]:
    """Say what the pictures are and whether they have positions."""
    count = sum(map(len, listings))
    placed = int(np.isfinite(columns["ra"] + columns["dec"]).sum()) if "ra" in columns else 0
    words = f"those of the table, for {placed} of {count}" if placed else "none: pictures"
    facts_of_files = _files_facts(listings)
    carried = [name.removeprefix(COLUMN) for name in columns if name.startswith(COLUMN)]
    facts = [
        Fact("positions", words, {"kind": "table" if placed else "none"}),
        Fact("ids", "paths of the pictures", {"column": None}),
        object_fact(count),
        *facts_of_files,
        band_fact(dict.fromkeys(rule.bands, ()), note=f"{rule.kind} pixels; colours by the option color"),
        size_fact((rule.height, rule.width), None),
    ]
    if carried:
        facts.append(Fact("columns", ", ".join(carried)[:1000], {"number": len(carried)}))
    doubled = [name for listing in listings for name in listing.doubled]
    if doubled:
        shown = ", ".join(map(repr, doubled[:5])) + (", ..." if len(doubled) > 5 else "")
        many = f"{len(doubled)} {'name occurs' if len(doubled) == 1 else 'names occur'} more than once in an archive"
        facts.append(
            Fact("doubled names", f"{many}, and the last one counts: {shown}"[:1000], {"number": len(doubled)})
        )
    return facts


def _files_facts(listings: list[Listing]) -> list[Fact]:
    """Say how many files there are, and which are no pictures."""
    kinds: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    for listing in listings:
        kinds.update(listing.skipped)
        for kind, some in listing.skipped_names.items():
            names.setdefault(kind, []).extend(some)
    found, used = sum(listing.total for listing in listings), sum(map(len, listings))
    replaced = sum(listing.replaced for listing in listings)
    left = sum(number for kind, number in kinds.items() if kind not in NO_FILES)
    more = ((replaced, "replaced by later ones of the same name"), (left, "left out"))
    parts = [f"{used} pictures"] + [f"{number} {what}" for number, what in more if number]
    value = {"found": found, "used": used, "replaced": replaced, "left_out": left}
    reasons = {kind if kind == THE_TABLE else f"no picture that is read ({kind})": kind for kind in kinds}
    return [
        Fact("files", f"{found} found: {', '.join(parts)}", value),
        *left_out_facts(
            {reason: names[kind] for reason, kind in reasons.items()},
            {reason: kinds[kind] for reason, kind in reasons.items()},
        ),
    ]


def _tasks(
    listings: list[Listing], ids: list[str], rule: PixelRule, columns: dict[str, np.ndarray], options: PictureOptions
) -> Iterator[Task]:
    first = 0
    for number, listing in enumerate(listings):
        payload: dict[str, Any] = {
            "container": dataclasses.asdict(listing.container),
            "rule": dataclasses.asdict(rule),
            "max_bytes": options.max_bytes,
        }
        places = listing.place_table()
        for part, start in enumerate(range(0, len(listing), _PICTURES_PER_TASK)):
            stop = min(start + _PICTURES_PER_TASK, len(listing))
            here = slice(first + start, first + stop)
            table = {"object_id": np.array(ids[here], dtype=object)}
            members = listing.members[start:stop]
            if members != ids[here]:
                table["member"] = np.array(members, dtype=object)
            if listing.is_archive:
                table.update({name: places[start:stop, column] for column, name in enumerate(_PLACE_NAMES)})
            table.update({name: values[here] for name, values in columns.items()})
            yield Task(f"{number}:{Path(listing.container.path).name}:{part:06d}", payload, table)
        first += len(listing)


def _read_rows(
    task: Task, container: Container, rule: PixelRule, fetch: Callable[[str, Place], bytes], numbers: range
) -> list[CutoutBlock | Failure]:
    """Decode some pictures of a task into one block, and what cannot be decoded into failures."""
    here = slice(numbers.start, numbers.stop)
    table = {name: values[here] for name, values in task.table.items()}
    ids = [str(object_id) for object_id in table["object_id"]]
    ra, dec = (np.asarray(table.get(name, np.full(len(ids), np.nan)), np.float64) for name in POSITION_NAMES)
    places = np.stack([table.get(name, np.zeros(len(ids), np.int64)) for name in _PLACE_NAMES], axis=1)
    members = table.get("member", table["object_id"])
    images = np.empty((len(numbers), len(rule.bands), rule.height, rule.width), rule.dtype)
    decoded: list[int] = []
    results: list[CutoutBlock | Failure] = []
    with quiet():
        for row, (member, place) in enumerate(zip(members, places.tolist(), strict=True)):
            try:
                with reading(container.name_of(str(member)), nbytes=0):
                    images[len(decoded)] = decode(fetch(str(member), place), rule)
            except (PictureError, BudgetError) as error:
                results.append(Failure(ids[row], str(error), float(ra[row]), float(dec[row])))
            else:
                decoded.append(row)
    if decoded:
        columns = {
            name.removeprefix(COLUMN): values[decoded] for name, values in table.items() if name.startswith(COLUMN)
        }
        results.append(
            CutoutBlock(
                ids=[ids[row] for row in decoded],
                images=images[: len(decoded)],
                bands=rule.bands,
                ra=ra[decoded],
                dec=dec[decoded],
                columns=columns,
            )
        )
    return results
