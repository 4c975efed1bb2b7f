"""Look objects of a session up in catalogues and services."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly._version import __version__
from astroanomaly.arguments import as_mapping, as_number
from astroanomaly.config import FetchConfig, build, nearest
from astroanomaly.cutting import middle_time
from astroanomaly.errors import CatalogError, ConfigError, FetchError, PluginError, UnreadableError
from astroanomaly.fetch import each, using
from astroanomaly.fetch.recording.run import recorded
from astroanomaly.hookspecs import CrossmatchService, MovingObjectService
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Failure, Progress
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.known import (
    KnownIn,
    KnownObject,
    Lookup,
    known_columns,
    known_provenance,
    put_known,
    read_known,
)
from astroanomaly.session.outputs.provenance import public
from astroanomaly.tables.blocks import file_state
from astroanomaly.tables.coordinates import angle_arcsec
from astroanomaly.tables.given import GivenTable, given_catalog
from astroanomaly.tables.nearest import MAX_RADIUS_ARCSEC, NearestEntries, WithinErrors, nearest_in_catalog
from astroanomaly.tables.write import build_columns

if TYPE_CHECKING:
    from astropy.table import QTable, Table
    from astropy.units import Quantity

__all__ = ["CrossmatchReport", "crossmatch_steps", "named_catalogs", "within_errors"]

NO_POSITION = "no position on the sky"
NO_TIME = "its image has no time of observation"


@dataclass(frozen=True)
class CrossmatchReport:
    """What came of a crossmatch.

    Attributes
    ----------
    table
        The objects, and what is known of them by now.
    matched
        By catalogue: how many of the objects it knows.
    failures
        By catalogue: the objects that were not looked up there, and why.
    """

    table: QTable
    matched: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, tuple[Failure, ...]] = field(default_factory=dict)


_Service = CrossmatchService | MovingObjectService
_Catalog = Path | GivenTable | _Service


def named_catalogs(given: Any) -> dict[str, _Catalog]:
    """Bring what somebody gives as catalogues to services, paths and tables, each by its name.

    Parameters
    ----------
    given
        Name of a service, path of a table, `astropy.table.Table`, `~astropy.coordinates.SkyCoord`, a list of these, or
        a mapping of names to them.

    Raises
    ------
    ConfigError
        If it is anything else, nothing, or two of one name.
    UnreadableError
        If there is neither a service nor a file of a name.
    """
    if isinstance(given, Mapping):
        pairs = [(str(name), item) for name, item in given.items()]
    elif isinstance(given, list | tuple | set | frozenset):
        pairs = [("", item) for item in given]
    else:
        pairs = [("", given)]
    if not pairs:
        raise ConfigError("no catalogue was given: expected at least one, a file or the name of a service")
    services = load_plugins("crossmatch").crossmatches
    found: dict[str, _Catalog] = {}
    for wanted, item in pairs:
        is_service = isinstance(item, str) and item in services
        catalog: _Catalog = services[item] if is_service else _local(item, services)
        if isinstance(catalog, Path):
            name = wanted or catalog.name or str(catalog)
        else:
            name = item if is_service else wanted or "table"
        if not name.strip():
            raise ConfigError("a catalogue has an empty name")
        if name in found:
            raise ConfigError(
                f"two catalogues are called {name!r}: results are kept by name. Rename one; in Python, give a "
                "dictionary of names and catalogues"
            )
        found[name] = catalog
    return found


def within_errors(sigma: float | None, position_error: Quantity | str | None) -> WithinErrors | None:
    """Return how errors of positions count, from what somebody gives; None: not at all.

    Raises
    ------
    ConfigError
        If one of the two cannot be, or ``position_error`` is given alone.
    """
    if sigma is None:
        if position_error is not None:
            raise ConfigError(f"position_error={position_error} counts only with sigma, as in sigma=3")
        return None
    error = 0.0 if position_error is None else angle_arcsec(position_error, "position_error")
    return WithinErrors(as_number(sigma, "sigma"), error)


def _local(item: Any, services: Iterable[str]) -> Path | GivenTable:
    catalog = given_catalog(item, "a catalogue to match with")
    if catalog is None:
        raise ConfigError("no catalogue was given: expected a file, a table or the name of a service")
    if isinstance(catalog, Path) and not catalog.exists() and not Path(str(catalog).partition("[")[0]).exists():
        raise UnreadableError(
            f"{catalog} is neither a file nor a crossmatch service{nearest(str(catalog), services)} "
            f"(services: {', '.join(sorted(services)) or 'none'})"
        )
    return catalog


def crossmatch_steps(
    session: SessionFolder,
    catalogs: Mapping[str, _Catalog],
    objects: QTable,
    radius_arcsec: float,
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    within: WithinErrors | None = None,
) -> Generator[Progress, None, CrossmatchReport]:
    """Look objects up, catalogue by catalogue, and keep what is found; see `Session.crossmatch`.

    Parameters
    ----------
    session
        The session.
    catalogs
        What `named_catalogs` gives.
    objects
        A catalogue of objects, with ``object_id``, ``ra`` and ``dec``.
    radius_arcsec
        How far an entry may be.
    fetch
        How services are asked.
    within
        How errors of positions count in tables; None: not at all. Services give none.

    Yields
    ------
    Progress
        One report per catalogue, or per request.
    """
    if not 0 < radius_arcsec <= MAX_RADIUS_ARCSEC:
        raise ConfigError(f"radius: {radius_arcsec:g} arcsec, expected more than 0 and at most {MAX_RADIUS_ARCSEC:g}")
    config = fetch if isinstance(fetch, FetchConfig) else build(FetchConfig, as_mapping(fetch, "fetch"), "fetch")
    read_known(session.path)  # a damaged file is named before anybody is asked
    ids = [str(object_id) for object_id in objects["object_id"]]
    ra, dec = objects["ra"].to_value("deg"), objects["dec"].to_value("deg")
    there = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    nowhere = [Failure(ids[k], NO_POSITION) for k in np.flatnonzero(~(np.isfinite(ra) & np.isfinite(dec)))]
    placed = _Objects([ids[k] for k in there], ra[there], dec[there])
    matched: dict[str, int] = {}
    failures: dict[str, tuple[Failure, ...]] = {}
    asked = {"crossmatch": list(catalogs), "radius_arcsec": radius_arcsec}
    with recorded(config, lambda _: asked) as run:
        for name, catalog in catalogs.items():
            failed: list[Failure] = []
            if isinstance(catalog, Path | GivenTable):
                yield Progress(f"matching with {name}", 0, len(placed.ids))
                found = _in_table(name, catalog, placed, radius_arcsec, within)
                put_known(session.path, found)
                errors = found.lookups[-1].about.get("errors", "")
                said = f"{name}: errors of positions from {errors}" if errors else ""
                yield Progress(f"matching with {name}", len(placed.ids), len(placed.ids), message=said)
            else:
                observed = placed
                if isinstance(catalog, MovingObjectService):
                    observed, failed = _with_times(session, placed)
                found, more = yield from _ask(session.path, catalog, observed, radius_arcsec, run.fetch)
                failed += more
            matched[name] = sum(one.matches > 0 for one in found.objects.values())
            failures[name] = (*nowhere, *failed)
        run.note(matched=matched, failed={name: Counter(one.reason for one in some) for name, some in failures.items()})
    return CrossmatchReport(_table(session, ids, objects, failures), matched, failures)


@dataclass(frozen=True, eq=False)
class _Objects:
    """Ids and positions ``(n,)`` of objects in ICRS degrees, and when they were observed where that counts."""

    ids: Sequence[str]
    ra: np.ndarray
    dec: np.ndarray
    mjd: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def at(self, mjd: np.ndarray) -> _Objects:
        """Return those that have a time, with it."""
        rows = np.flatnonzero(np.isfinite(mjd))
        return _Objects([self.ids[k] for k in rows.tolist()], self.ra[rows], self.dec[rows], mjd[rows])

    def failures(self, rows: Iterable[int], reason: str) -> list[Failure]:
        """Return some of them as failures."""
        return [Failure(self.ids[k], reason, float(self.ra[k]), float(self.dec[k])) for k in rows]


def _in_table(
    name: str, catalog: Path | GivenTable, objects: _Objects, radius_arcsec: float, within: WithinErrors | None
) -> KnownIn:
    """Look objects up in a local catalogue."""
    entries = nearest_in_catalog(catalog, objects.ra, objects.dec, radius_arcsec, within)
    about = file_state(catalog) if isinstance(catalog, Path) else {"table": catalog.digest}
    if within is not None:
        errors = " and ".join(entries.error_columns)
        about = {**about, "sigma": f"{within.sigma:g}", "errors": f"{errors}, {within.error_arcsec:g} arcsec"}
    return _results(name, None, objects.ids, entries, radius_arcsec, about)


def _with_times(session: SessionFolder, objects: _Objects) -> tuple[_Objects, list[Failure]]:
    """Return the objects whose image has a time of observation, with it, and the others as failures."""
    cutouts = (session.cache[object_id] for object_id in objects.ids)
    mjd = np.array([np.nan if one.wcs is None else middle_time(one.wcs) for one in cutouts])
    return objects.at(mjd), [Failure(objects.ids[k], NO_TIME) for k in np.flatnonzero(np.isnan(mjd)).tolist()]


def _ask(
    session: Path, service: _Service, objects: _Objects, radius_arcsec: float, config: FetchConfig
) -> Generator[Progress, None, tuple[KnownIn, list[Failure]]]:
    """Ask a service batch by batch, in parallel; what was answered is kept, whatever becomes of the rest."""
    size = max(1, int(service.batch))
    batches = [range(k, min(k + size, len(objects.ids))) for k in range(0, len(objects.ids), size)]
    stage = f"asking {service.name}"
    results = _results(service.name, service, [], NearestEntries(objects.ra[:0], objects.dec[:0], radius_arcsec),
                       radius_arcsec, {"address": service.address})  # fmt: skip
    answered: dict[str, KnownObject] = {}
    failures: list[Failure] = []

    def ask(rows: range) -> NearestEntries:
        part = slice(rows.start, rows.stop)
        found = NearestEntries(objects.ra[part], objects.dec[part], radius_arcsec, list(service.values))
        if isinstance(service, MovingObjectService):
            table = service.near(found.ra, found.dec, radius_arcsec, objects.mjd[part])
        else:
            table = service.near(found.ra, found.dec, radius_arcsec)
        found.add(*_entries(table, service))
        return found

    done = 0
    try:
        with using(config, time.time()):
            yield Progress(stage, 0, len(objects.ids))
            for rows, answer in each(ask, batches):
                if isinstance(answer, FetchError):
                    failures += objects.failures(rows, answer.reason or str(answer))
                else:
                    answered |= _known_objects([objects.ids[k] for k in rows], answer)
                done += len(rows)
                yield Progress(stage, done, len(objects.ids))
    finally:
        results = replace(results, objects=answered)
        if answered:
            put_known(session, results)
    return results, failures


def _entries(table: Table, service: _Service) -> tuple[Table, np.ndarray, np.ndarray, dict[str, str]]:
    """Return the entries that a service gave, each once, with their positions and the names of their columns."""
    needed = [name for name in ("ra", "dec", "name") if name not in table.colnames]
    if needed:
        raise PluginError(f"the crossmatch service {service.name!r} gave a table without the column {needed[0]!r}")
    ra, dec = (_degrees(table[name]) for name in ("ra", "dec"))
    if (np.abs(dec[np.isfinite(dec)]) > 90).any():
        raise CatalogError(f"the crossmatch service {service.name!r} gave a declination beyond the pole")
    keys = zip(map(str, table["name"]), ra.tolist(), dec.tolist(), strict=True)
    first = sorted({key: row for row, key in reversed(list(enumerate(keys)))}.values())
    columns = {name: name for name in ("name", "type", "reference") if name in table.colnames}
    return table[first], ra[first], dec[first], columns


def _degrees(column: Any) -> np.ndarray:
    return np.ma.filled(np.ma.asarray(getattr(column, "value", column), float), np.nan)


def _results(
    name: str,
    service: _Service | None,
    ids: Sequence[str],
    found: NearestEntries,
    radius_arcsec: float,
    about: Mapping[str, str],
) -> KnownIn:
    """Put results of one lookup together."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    lookup = Lookup(now, radius_arcsec, {**about, "software": f"astroanomaly {__version__}"})
    return KnownIn(
        name,
        service is not None,
        service is None or bool(service.published),
        {} if service is None else {str(key): (*map(str, three),) for key, three in service.values.items()},  # type: ignore[misc]
        (lookup,),
        _known_objects(ids, found),
    )


def _known_objects(ids: Sequence[str], found: NearestEntries) -> dict[str, KnownObject]:
    results = {}
    for k, object_id in enumerate(ids):
        count = int(found.count[k])
        results[object_id] = KnownObject(0, count) if not count else KnownObject(
            0, count, found.texts["name"][k], found.texts["type"][k], found.texts["reference"][k],
            float(found.separation_arcsec[k]), tuple(float(numbers[k]) for numbers in found.values.values()),
            float(found.error_arcsec[k]),
        )  # fmt: skip
    return results


def _table(
    session: SessionFolder, ids: Sequence[str], objects: QTable, failures: Mapping[str, Sequence[Failure]]
) -> QTable:
    """Make the table of what is known of some objects by now."""
    known = read_known(session.path)
    columns = {"object_id": np.array(ids, dtype=str), "ra": objects["ra"].to_value("deg"),
               "dec": objects["dec"].to_value("deg"), **known_columns(known, ids)}  # fmt: skip
    if any(failures.values()):
        reasons: dict[str, list[str]] = {}
        for catalog, failed in failures.items():
            for one in failed:
                reasons.setdefault(one.object_id, []).append(f"{catalog}: {one.reason}")
        columns["not_asked"] = np.array(["; ".join(reasons.get(object_id, ())) for object_id in ids], dtype=str)
    table = build_columns(columns)
    if "not_asked" in table.colnames:
        table["not_asked"].info.description = "catalogues that the object was not looked up in, and why"
    table.meta = public(known_provenance(known))
    return table
