"""The scores of all objects as one table, written block by block: memory is that of a block, however many there are."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cache import Cache, Shard
from astroanomaly.cache.plan import count_plan
from astroanomaly.cache.scores import count_tasks, list_parts
from astroanomaly.errors import CatalogError, SessionError
from astroanomaly.files import atomic_path
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.records import Progress
from astroanomaly.session.export import origin
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.outputs.provenance import public
from astroanomaly.session.rounds import SCORES, Round
from astroanomaly.session.stored_objects import StoredObjects, StoredShard
from astroanomaly.session.survey.cascade import Cascade
from astroanomaly.tables.csv_rows import check_escape
from astroanomaly.tables.escape import ascii_text
from astroanomaly.tables.stream import STREAMS
from astroanomaly.tables.write import build_catalog, check_target

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["ScoreBlock", "export_scores", "refuse_unfinished", "scored_with", "widest", "write_score_table"]


@dataclass(frozen=True, eq=False)
class ScoreBlock:
    """Some objects with their scores.

    Parameters
    ----------
    ids
        ``(n,)`` object ids.
    ra, dec
        ``(n,)`` ICRS degrees, NaN where unknown.
    log_odds
        ``(n, classes)`` float32 log-odds of each label class against all others, ``nominal`` first.
    labels
        ``(n,)`` labels, empty without one.
    """

    ids: Sequence[str]
    ra: np.ndarray
    dec: np.ndarray
    log_odds: np.ndarray
    labels: Sequence[str]


def widest(ids: Iterable[str]) -> int:
    """Return how many characters the longest of some texts takes when it is spelt for any format; 1 without texts."""
    return max((len(ascii_text(object_id)) for object_id in ids), default=1) or 1


def write_score_table(
    path: str | Path,
    blocks: Iterable[ScoreBlock],
    classes: Sequence[str],
    *,
    total: int,
    width: int,
    labels: Iterable[str] = (),
    provenance: Mapping[str, str],
    overwrite: bool = False,
    escape_formulas: bool = False,
) -> Iterator[int]:
    """Write a table of scores block by block; the file is there, whole, once the generator is drained.

    Columns, units, UCDs and descriptions are those of a catalogue of anomalies: ``object_id``, ``ra``, ``dec``,
    ``score``, ``log_odds_CLASS`` for each class, ``label``. Text is spelt as in `astroanomaly.tables.write`.

    Parameters
    ----------
    path
        ``.fits``, ``.parquet`` (one row group for each block) or ``.csv``.
    blocks
        The objects, in the order of the rows.
    classes
        Label classes, ``nominal`` first.
    total
        How many objects there are in all blocks together.
    width
        What `widest` says of all ids; FITS gives each text the same room.
    labels
        Labels that occur beside the classes and ``disputed``.
    provenance
        Kept in the header of the file.
    overwrite
        Replace the file if it exists.
    escape_formulas
        As in `write_catalog`.

    Yields
    ------
    int
        After each block, how many objects are written.

    Raises
    ------
    ConfigError
        For another suffix, if a package that the format needs is missing, or if formulas are to be escaped in what is
        no CSV.
    StorageError
        If the file exists and must not be replaced, or cannot be written; nothing half-written is left.
    CatalogError
        If there are more or fewer objects than ``total``, or a text is wider than was said.
    """
    path = Path(path)
    check_escape(path, escape_formulas)
    stream = STREAMS[check_target(path, tuple(STREAMS), overwrite=overwrite)]
    if escape_formulas:
        stream = functools.partial(stream, escape_formulas=True)
    done = 0
    with atomic_path(path) as temporary, stream(temporary, _template(classes, width, labels, provenance), total) as put:
        for block in blocks:
            columns = _columns(block, classes)
            lengths = {name: len(values) for name, values in columns.items()}
            done += len(block.ids)
            if set(lengths.values()) != {len(block.ids)} or done > total:
                raise CatalogError(
                    f"{path}: expected blocks of {total} objects in all, each column as long as the others; "
                    f"found {done} objects or more, in columns of lengths {lengths}"
                )
            if len(block.ids):
                put(columns)
            yield done
        if done != total:
            raise CatalogError(f"{path}: expected {total} objects, found {done}: nothing was written")


def export_scores(
    session: SessionFolder,
    path: Path,
    *,
    survey: Path | None = None,
    overwrite: bool = False,
    escape_formulas: bool = False,
) -> Generator[Progress, None, int]:
    """Write the scores of all objects by the latest round, see `Session.export_scores`; return how many."""
    check_escape(path, escape_formulas)
    check_target(path, tuple(STREAMS), overwrite=overwrite)  # ids are looked through only for a file that can be
    labels = {object_id: consensus.label for object_id, consensus in session.labels.current().items()}
    if survey is None:
        last = session.last_round
        cache = session.objects
        all_ids: Iterable[Sequence[str]] = (shard.ids for shard in cache.shards)
        blocks = _blocks(cache, last, labels)
    else:
        last, folder = scored_with(session, survey)
        refuse_unfinished(session, survey, folder)
        all_ids = (part.ids for part in list_parts(folder, session.classes))
        blocks = (
            ScoreBlock(part.ids, part.ra, part.dec, part.log_odds, [labels.get(name, "") for name in part.ids])
            for part in list_parts(folder, session.classes)
        )
    total, width = 0, 1
    for ids in all_ids:
        total, width = total + len(ids), max(width, widest(ids))
        yield Progress("ids", total)
    writing = write_score_table(
        path,
        blocks,
        session.classes,
        total=total,
        width=width,
        labels=set(labels.values()),
        provenance=public(origin(session, last) | ({"survey": str(survey)} if survey else {})),
        overwrite=overwrite,
    )
    for done in writing:
        yield Progress("writing", done, total)
    return total


def _blocks(cache: Cache | StoredObjects, last: Round, labels: Mapping[str, str]) -> Iterator[ScoreBlock]:
    """Give the objects of a cache, shard by shard."""
    shards: Sequence[Shard | StoredShard] = cache.shards
    for shard, scores in zip(shards, last.shard_scores(cache), strict=True):
        if list(scores.ids) != shard.ids:
            raise SessionError(
                f"the scores of round {last.number} for {shard.path} are of other objects than those in it: "
                f"remove {last.scores / (shard.uuid + '.h5')} and run `astroanomaly score SESSION`"
            )
        given = [labels.get(object_id, "") for object_id in scores.ids]
        yield ScoreBlock(scores.ids, *shard.positions, scores.log_odds, given)


def scored_with(session: SessionFolder, survey: Path, beside: str = "") -> tuple[Round, Path]:
    """Return the latest round that has scored objects of a survey, and the folder of these scores.

    Scores of all objects go before scores of the best alone (`Cascade`), of which the latest are taken. Scores
    with a file ``beside`` them go before all others.
    """
    found = [
        (item, place / SCORES)
        for item in reversed(session.rounds)
        for place in (item.in_survey(survey), *Cascade.places(item, survey))
        if (place / SCORES).is_dir()
    ]
    if found:
        return next((one for one in found if beside and (one[1].parent / beside).is_file()), found[0])
    raise SessionError(
        f"no round of {session.path} has scored {survey}: run `astroanomaly score {session.path} --source ... "
        f"--out {survey}`"
    )


def refuse_unfinished(session: SessionFolder, survey: Path, folder: Path) -> None:
    """Raise an error unless all objects of a survey have scores in a folder of `scored_with`.

    Raises
    ------
    SessionError
        If not; it says how many tasks are scored.
    """
    done, (tasks, _) = count_tasks(folder), count_plan(survey)
    if done != tasks or not Cascade.is_finished(folder.parent):
        raise SessionError(
            f"{folder} is not finished, with scores of {done} of {tasks} tasks of the survey: give the command "
            f"`astroanomaly score {session.path} --source ... --out {survey}` again, which goes on where it stopped"
        )


def _columns(block: ScoreBlock, classes: Sequence[str]) -> dict[str, Any]:
    log_odds = np.asarray(block.log_odds, np.float32)
    return {
        "object_id": block.ids,
        "ra": np.asarray(block.ra, np.float64),
        "dec": np.asarray(block.dec, np.float64),
        "score": -log_odds[:, 0],
        **{f"log_odds_{name}": log_odds[:, number] for number, name in enumerate(classes)},
        "label": block.labels,
    }


def _template(classes: Sequence[str], width: int, labels: Iterable[str], provenance: Mapping[str, str]) -> QTable:
    """Make a catalogue of one row, whose texts are as wide as any: what it says of its columns holds for the table."""
    label = "x" * widest([*classes, DISPUTED, *labels])
    one = ScoreBlock(["x" * width], np.zeros(1), np.zeros(1), np.zeros((1, len(classes))), [label])
    return build_catalog(_columns(one, classes), provenance)
