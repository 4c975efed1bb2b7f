"""A few cutouts of a request as one picture with compass and scale, before anything is written."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import figures
from astroanomaly.cache import Cache
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.config import FetchConfig
from astroanomaly.errors import CacheError, ConfigError
from astroanomaly.fetch import using
from astroanomaly.hookspecs import Source
from astroanomaly.imaging.compass import Compass, sexagesimal
from astroanomaly.ingestion.plan import CountedTasks, complete_facts, layout_of
from astroanomaly.ingestion.record import begin_record
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.ingestion.workers import read_some
from astroanomaly.parallel.limits import ReadLimits, limited
from astroanomaly.parallel.watched import Watch
from astroanomaly.records import Cutout, CutoutBlock, Fact, Failure, Layout, Progress, Task, drain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.io.fits import HDUList

__all__ = ["Preview", "preview", "preview_steps"]

_MOST_CUTOUTS = 500
_ROUNDS = 10  # in which objects that failed are replaced by others
_CELL_PX = 160  # wanted side of a picture


@dataclass(frozen=True, eq=False)
class Preview:
    """A few cutouts of a request. In a notebook it shows itself.

    Attributes
    ----------
    cutouts
        The cutouts, spread over the tasks of the request.
    layout
        Their layout.
    facts
        What was understood of the request, by name.
    failures
        Objects that were tried and could not be cut.
    source
        Name of the source.
    images
        ``(n, height, width, 3)`` uint8, painted and turned as the cutouts of a cache are, first row on top.
    compasses
        Scale and directions in each of them; None where there is no WCS.
    """

    cutouts: tuple[Cutout, ...]
    layout: Layout
    facts: dict[str, Fact]
    failures: tuple[Failure, ...]
    source: str
    images: np.ndarray
    compasses: tuple[Compass | None, ...]

    def __len__(self) -> int:
        return len(self.cutouts)

    def __repr__(self) -> str:
        said = "".join(f"\n{fact.name}: {fact.text}" for fact in self.facts.values())
        return f"<Preview of {len(self)} cutouts of {self.source}, {len(self.failures)} failures>{said}"

    def save(self, path: str | Path) -> None:
        """Draw the cutouts with their compass and a scale bar as one picture.

        Parameters
        ----------
        path
            ``.png``, ``.svg`` or ``.pdf``; replaced if it is there.

        Raises
        ------
        ConfigError
            For another suffix.
        StorageError
            If it cannot be written.
        """
        count = len(self.cutouts)
        what = f"{count} {'cutout' if count == 1 else 'cutouts'} of {self.layout.width} x {self.layout.height} pixels"
        figures.contact_sheet(
            self.images,
            [cutout.object_id for cutout in self.cutouts],
            path,
            title=f"{self.source}: {what}, bands {', '.join(self.layout.bands)}",
            columns=int(np.ceil(np.sqrt(1.5 * count))),
            cell=_CELL_PX,
            compasses=self.compasses,
            positions=[_position(cutout) for cutout in self.cutouts],
        )

    def _repr_png_(self) -> bytes:
        with tempfile.TemporaryDirectory(prefix="astroanomaly-") as folder:
            path = Path(folder) / "preview.png"
            self.save(path)
            return path.read_bytes()


def preview(
    source: str | Source,
    inputs: str | Path | HDUList | Sequence[str | Path | HDUList] = (),
    *,
    n: int = 12,
    to: str | Path | None = None,
    prefix: str = "",
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    limits: ReadLimits | Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Preview:
    """Cut a few objects of a request and show them; no cache is written.

    Parameters
    ----------
    source, inputs, prefix, fetch, limits, progress, **options
        As in `astroanomaly.ingest`.
    n
        How many cutouts, 1 to 500; spread over the tiles, the same at every call.
    to
        Draw them into this ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    AstroAnomalyError
        As `astroanomaly.ingest`, and if not one object could be cut.
    """
    request = SourceRequest.of(source, inputs, options=options, prefix=prefix, fetch=fetch, limits=limits)
    found = drain(preview_steps(request, n), progress)
    if to is not None:
        found.save(to)
    return found


def preview_steps(request: SourceRequest, n: int) -> Generator[Progress, None, Preview]:
    """As `preview`, as a generator of progress reports that returns it.

    Raises
    ------
    ConfigError
        If ``n`` is not 1 to 500.
    CacheError
        If nothing could be cut.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= _MOST_CUTOUTS:
        raise ConfigError(f"a preview of {n!r} cutouts: expected a whole number from 1 to {_MOST_CUTOUTS}")
    yield Progress("planning", 0)
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(begin_record(request))
        request = replace(request, fetch=run.fetch)
        stack.enter_context(using(request.fetch, time.time()))
        stored = stack.enter_context(request.stored_for_now())
        planned = stored.plan()
        counted = CountedTasks(planned, request.source)
        tasks = list(counted)
        yield Progress("planning", 0, facts=complete_facts(planned.facts, planned.layout, counted))
        layout, blocks, failures = planned.layout, list[CutoutBlock](), list[Failure]()
        for item in _cut_some(stored, tasks, int(n)):
            if isinstance(item, Failure):
                failures.append(replace(item, object_id=stored.prefix + item.object_id))
                continue
            layout = layout or layout_of(item)
            blocks.append(replace(item, ids=[stored.prefix + object_id for object_id in item.ids]))
            yield Progress("cutting", sum(map(len, blocks)), int(n))
    if layout is None or not blocks:
        reasons = Counter(failure.reason for failure in failures)
        why = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
        raise CacheError(f"nothing could be cut of {len(failures)} objects that were tried{why}")
    facts = {fact.name: fact for fact in complete_facts(planned.facts, layout, counted)}
    cutouts, images, compasses = _painted(blocks, layout, request)
    return Preview(tuple(cutouts), layout, facts, tuple(failures), request.source.name, images, tuple(compasses))


# ------------------------------------------------------------------------------------------------------ which objects


def _cut_some(request: SourceRequest, tasks: Sequence[Task], n: int) -> Iterator[CutoutBlock | Failure]:
    """Cut objects spread over the tasks; those that fail are replaced by others, first from tasks without failures."""
    unread = {number: np.arange(len(task)) if task.table else None for number, task in enumerate(tasks)}
    troubled: set[int] = set()
    fruitful: set[int] = set()
    left, began, watch = n, time.time(), Watch()
    for _ in range(_ROUNDS):
        ranked = ([k for k in unread if k not in troubled], [k for k in unread if k in fruitful], list(unread))
        shares = _shares(unread, next((numbers for numbers in ranked if numbers), []), left)
        if not shares:
            return
        for number, share in shares.items():
            rows = unread.pop(number)
            task = tasks[number]
            if rows is not None:
                chosen = ((np.arange(share) + 0.5) * len(rows) / share).astype(int)
                task = task.take(rows[chosen])
                if len(rows) > share:
                    unread[number] = np.delete(rows, chosen)
            wanted = share
            with limited(request.limits):
                found, _ = read_some(request.source, task, share, request.fetch, began, watch)
            for item in found:
                if isinstance(item, Failure):
                    troubled.add(number)
                    yield item
                    continue
                block = CutoutBlock.of(item) if isinstance(item, Cutout) else item
                if len(block):
                    fruitful.add(number)
                    some = block if len(block) <= wanted else block.take(np.arange(wanted))
                    wanted -= len(some)
                    left -= len(some)
                    yield some
                if wanted <= 0:
                    break
            if left <= 0:
                return


def _shares(unread: Mapping[int, np.ndarray | None], numbers: Sequence[int], wanted: int) -> dict[int, int]:
    """Share out how many objects each task gives: as evenly as may be, from tasks evenly spaced where they are more."""
    if len(numbers) > wanted:
        chosen = ((np.arange(wanted) + 0.5) * len(numbers) / wanted).astype(int)
        return {numbers[k]: 1 for k in chosen}
    shares: dict[int, int] = {}
    waiting = sorted(numbers, key=lambda number: (_count(unread[number], wanted), number))
    for place, number in enumerate(waiting):  # the smallest first: what they lack is shared by the others
        fair = -(-wanted // (len(waiting) - place))
        shares[number] = min(fair, _count(unread[number], wanted))
        wanted -= shares[number]
    return {number: share for number, share in sorted(shares.items()) if share}


def _count(rows: np.ndarray | None, wanted: int) -> int:
    return wanted if rows is None else len(rows)


# ----------------------------------------------------------------------------------------------------------- pictures


def _painted(
    blocks: Sequence[CutoutBlock], layout: Layout, request: SourceRequest
) -> tuple[list[Cutout], np.ndarray, list[Compass | None]]:
    """Return the cutouts, their pictures and compasses: painted from a cache that is there for this call only."""
    with tempfile.TemporaryDirectory(prefix="astroanomaly-") as name:
        folder = Path(name)
        create_cache(folder, layout, (), request.description)
        with ShardWriter(folder, layout, sync=False) as writer:
            writer.begin(0, "preview")
            for block in blocks:
                writer.add(block)
            writer.commit()
        cache = Cache.open(folder)
        ids = list(cache.ids)
        cutouts = [replace(cutout, data=np.array(cutout.data)) for cutout in map(cache.__getitem__, ids)]
        return cutouts, np.array(cache.pictures.rgb(ids)), cache.pictures.compasses(ids)


def _position(cutout: Cutout) -> str:
    return sexagesimal(cutout.ra, cutout.dec) if np.isfinite(cutout.ra + cutout.dec) else "no position"
