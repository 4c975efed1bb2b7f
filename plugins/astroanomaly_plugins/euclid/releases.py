"""Releases of Euclid data: what archives call their mosaics and catalogues, and which release is taken."""

from __future__ import annotations

import datetime
import functools
import importlib.resources
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from astroanomaly import ConfigError

__all__ = [
    "NEWEST",
    "ChosenRelease",
    "Holding",
    "Release",
    "choose_release",
    "found_releases",
    "known_releases",
    "newest_first",
]

NEWEST = "newest"
_MAX_FILE_BYTES = 100_000
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?")
_PARTS = ("mer_catalogue", "mer_catalogue_wide_survey", "mer_catalogue_wide_mode", "mer_catalogue_deep_survey",
    "mer_catalogue_deep_mode")  # fmt: skip
_USUAL_COLUMNS = {"esa": ("object_id", "right_ascension", "declination"), "irsa": ("object_id", "ra", "dec")}
ArchiveName = Literal["esa", "irsa"]


@dataclass(frozen=True)
class Holding:
    """What one archive has of a release.

    Attributes
    ----------
    mosaics
        Table of the mosaics (ESA), or collection of images (IRSA).
    catalogues
        Tables of the MER catalogue; of an object that is in several the first counts. Empty where there is none.
    id_column, ra_column, dec_column
        Their columns.
    """

    mosaics: str
    catalogues: tuple[str, ...]
    id_column: str
    ra_column: str
    dec_column: str

    @property
    def catalogue(self) -> str:
        """The tables of the catalogue, for people."""
        return " + ".join(self.catalogues)

    @property
    def words(self) -> str:
        """Say what it is."""
        return f"mosaics of {self.mosaics}, " + (f"catalogue {self.catalogue}" if self.catalogues else "no catalogue")


@dataclass(frozen=True)
class Release:
    """One release, as one archive has it; alternatives where it is not known what the archive calls a table.

    Attributes
    ----------
    name
        In lower-case letters, as ``q1``.
    date
        When it was made public, ISO 8601; empty where not known.
    mosaics, catalogues
        Alternatives; the parts of a catalogue are joined by ``+``.
    columns
        Of the catalogue: id, right ascension, declination.
    """

    name: str
    date: str
    mosaics: tuple[str, ...]
    catalogues: tuple[str, ...]
    columns: tuple[str, str, str]

    def holding(self, there: Collection[str]) -> Holding | None:
        """Return the first of the alternatives that an archive has; None where it has no mosaics of this release."""
        mosaics = next((name for name in self.mosaics if name in there), None)
        if mosaics is None:
            return None
        wanted = (tuple(part.strip() for part in text.split("+")) for text in self.catalogues)
        found = (tuple(part for part in parts if part in there) for parts in wanted)
        return Holding(mosaics, next((parts for parts in found if parts), ()), *self.columns)


@dataclass(frozen=True)
class ChosenRelease:
    """The release that is taken.

    Attributes
    ----------
    name
        Its name.
    holding
        What the archive has of it.
    all
        What the archive has, by release, the newest first.
    """

    name: str
    holding: Holding
    all: Mapping[str, Holding]

    def with_catalogue(self, table: str) -> ChosenRelease:
        """Return the same with another catalogue."""
        return replace(self, holding=replace(self.holding, catalogues=(table,)))


def known_releases(archive: ArchiveName, file: Path | None = None) -> dict[str, Release]:
    """Return the releases that are known by name: those of the package, and those of a user's file before them.

    Parameters
    ----------
    archive
        Whose names.
    file
        Of the form of ``releases.toml`` beside this module.

    Raises
    ------
    ConfigError
        If the file cannot be read, or says something else.
    """
    known = {name: _release(name, entry, archive, "releases.toml") for name, entry in _own().items()}
    if file is not None:
        for name, entry in _read(file).items():
            known[name] = _release(name, entry, archive, str(file))
    return {name: release for name, release in known.items() if release is not None}


def found_releases(archive: ArchiveName, there: Collection[str]) -> dict[str, Release]:
    """Return the releases whose names show in the names of an archive's tables and collections."""
    names = "|".join(_PARTS)
    if archive == "esa":
        mosaics, catalogue = re.compile(r"(?P<name>\w+)\.mosaic_product"), re.compile(rf"(?P<name>\w+)\.({names})")
    else:
        mosaics = re.compile(r"euclid_(?P<name>[a-z]+\d\w*)_DpdMerBksMosaic")
        catalogue = re.compile(rf"euclid_(?P<name>[a-z]+\d\w*?)_({names})")
    found: dict[str, Release] = {}
    for table in sorted(there):
        match = mosaics.fullmatch(table)
        if match is not None and match["name"] != "sedm":  # which holds what the archive shows by default
            own = sorted(
                (one for one in there if (m := catalogue.fullmatch(one)) and m["name"] == match["name"]), key=_part
            )
            whole = own[:1] if own and own[0].endswith(_PARTS[0]) else own
            found[match["name"]] = Release(
                match["name"], "", (table,), (" + ".join(whole),) if whole else (), _USUAL_COLUMNS[archive]
            )
    return found


def newest_first(releases: Mapping[str, Release]) -> list[Release]:
    """Sort by date; those without one are newer, data releases after quick ones, then by their number."""

    def key(release: Release) -> tuple[bool, str, bool, int, str]:
        match = re.fullmatch(r"([a-z]+?)_?(\d+)\w*", release.name)
        kind, number = (match[1], int(match[2])) if match else ("", 0)
        return not release.date, release.date, kind == "dr", number, release.name

    return sorted(releases.values(), key=key, reverse=True)


def choose_release(
    wanted: str, archive: ArchiveName, there: Collection[str], file: Path | None = None
) -> ChosenRelease:
    """Choose the release.

    Parameters
    ----------
    wanted
        Its name, or ``newest``.
    archive
        Which archive.
    there
        Names of its tables and collections.
    file
        A user's file of releases.

    Raises
    ------
    ConfigError
        If the archive does not have it.
    """
    known = {**found_releases(archive, there), **known_releases(archive, file)}
    held = {release.name: holding for release in newest_first(known) if (holding := release.holding(there)) is not None}
    if wanted == NEWEST:
        if held:
            name = next(iter(held))
            return ChosenRelease(name, held[name], held)
        raise ConfigError(
            f"{archive.upper()} has no table of Euclid mosaics under any name that is known here: write the names into "
            "a file and give it with --releases"
        )
    if wanted not in held:
        has = f"It has {', '.join(held)}" if held else "It has none that is known here"
        raise ConfigError(
            f"--release {wanted}: {archive.upper()} has no mosaics of this release. {has}. If it has them under "
            "another name, write that into a file and give it with --releases"
        )
    return ChosenRelease(wanted, held[wanted], held)


def _part(table: str) -> int:
    return next(k for k in reversed(range(len(_PARTS))) if table.endswith(_PARTS[k]))


@functools.cache
def _own() -> dict[str, Any]:
    text = importlib.resources.files("astroanomaly_plugins.euclid").joinpath("releases.toml").read_text("utf-8")
    return tomllib.loads(text)


def _read(file: Path) -> dict[str, Any]:
    try:
        if not file.is_file():
            raise ConfigError(f"--releases {file}: there is no such file")
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigError(
                f"--releases {file}: it has more than {_MAX_FILE_BYTES} bytes, which no list of releases has"
            )
        return tomllib.loads(content.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: of TOML, and of text that is no UTF-8
        raise ConfigError(
            f"--releases {file} cannot be read as TOML ({error}): the page of the source euclid shows how it looks"
        ) from None


def _release(name: str, entry: Any, archive: ArchiveName, file: str) -> Release | None:
    """Read one release; None where the archive has none of it."""
    if not _NAME.fullmatch(name) or not isinstance(entry, dict):
        raise ConfigError(f"{file}: [{name}] is no release: expected a name in lower-case letters, as [q1]")
    unknown = set(entry) - {"date", "esa", "irsa"}
    if unknown:
        raise ConfigError(f"{file}: [{name}] has {sorted(unknown)[0]!r}: expected date, esa and irsa")
    try:
        date = datetime.date.fromisoformat(str(entry["date"])).isoformat() if "date" in entry else ""
    except ValueError:
        raise ConfigError(f"{file}: [{name}] has the date {entry['date']!r}: expected one as 2025-03-19") from None
    part = entry.get(archive)
    if part is None:
        return None
    where = f"{file}: [{name}.{archive}]"
    if not isinstance(part, dict) or set(part) - {"mosaics", "catalogues", "id", "ra", "dec"}:
        raise ConfigError(f"{where}: expected mosaics, catalogues, and the columns id, ra and dec of the catalogue")
    mosaics, catalogues = (_tables(part.get(key, []), f"{where} {key}") for key in ("mosaics", "catalogues"))
    if not mosaics:
        raise ConfigError(f"{where} names no mosaics")
    usual = dict(zip(("id", "ra", "dec"), _USUAL_COLUMNS[archive], strict=True))
    columns = {key: str(part.get(key, column)) for key, column in usual.items()}
    bad = next((column for column in columns.values() if not _NAME.fullmatch(column.lower())), None)
    if bad is not None:
        raise ConfigError(f"{where}: {bad!r} is no name of a column")
    return Release(name, date, mosaics, catalogues, (columns["id"], columns["ra"], columns["dec"]))


def _tables(value: Any, where: str) -> tuple[str, ...]:
    """Read names of tables; they become part of queries, so that nothing else may stand there."""
    texts: Sequence[Any] = [value] if isinstance(value, str) else value if isinstance(value, list) else [None]
    for text in texts:
        if not isinstance(text, str) or not all(_TABLE.fullmatch(part.strip()) for part in text.split("+")):
            raise ConfigError(f"{where}: {text!r} is no name of a table, as sedm.mosaic_product")
    return tuple(texts)
