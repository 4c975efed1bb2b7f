"""What a ranking can be computed again from, as files of a bundle: session, labels, checkpoint, scores, caches."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from astroanomaly.cache import Cache
from astroanomaly.cache.cutout_files import file_names
from astroanomaly.cache.schema import SHARD_FOLDER
from astroanomaly.cache.writer import create_cache
from astroanomaly.files import write_json
from astroanomaly.records import Progress
from astroanomaly.session.blocks.given import BLOCKS
from astroanomaly.session.caches import CacheRecord, read_records, stored_place, write_records
from astroanomaly.session.folder import LABELS, SessionFolder
from astroanomaly.session.home import CONFIG_FILE, read_session
from astroanomaly.session.outputs.provenance import public, software_versions
from astroanomaly.session.rounds import RECIPE, ROUNDS, SCORES, WEIGHTS, Round

__all__ = ["CACHES", "SESSION", "write_ranking"]

SESSION = "session"  # folder of a bundle
CACHES = "caches"  # and of the caches that it includes
_WORDS = ("bundled", "random", "pretrained")  # weights that are no file


def write_ranking(
    session: SessionFolder,
    folder: Path,
    numbered: Callable[[str], str],
    *,
    include_caches: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Write what the ranking of the latest round can be computed again from; return what the bundle says of it.

    Parameters
    ----------
    session
        The session.
    folder
        Folder of the bundle, which gets the folder `SESSION`, and `CACHES` with the caches.
    numbered
        What an annotator is called there.
    include_caches
        Whether the cutouts of all objects are written too.
    progress
        Called with a report after each shard of scores and of cutouts.

    Raises
    ------
    SessionError
        If no round has scored all objects.
    UnreadableError
        If a cache is not where it was.
    """
    last, cache = session.last_round, session.cache
    home = folder / SESSION
    home.mkdir()
    content = read_session(session.path)
    names = _cache_names(content["caches"])
    weights = _rename_weights(content["settings"]["backbone"], session)
    content["caches"] = [f"../{CACHES}/{name}" for name in names]
    (home / CONFIG_FILE).write_text(tomli_w.dumps(content), encoding="utf-8")
    _write_records(session, home, content["caches"])
    session.labels.write_copy(home / LABELS, numbered)
    if (session.path / BLOCKS).is_dir():
        shutil.copytree(session.path / BLOCKS, home / BLOCKS)
    engines = _write_round(last, cache, home / ROUNDS / last.path.name, content["caches"], progress)
    if include_caches:
        for name, place in zip(names, cache.folders, strict=True):
            _copy_cache(place, folder / CACHES / name, progress)
    return {
        "session": SESSION,
        "round": last.number,
        "ranker": last.ranker,
        "objects": len(cache),
        "caches": [
            {"name": name, "objects": count, "included": include_caches}
            for name, count in zip(names, cache.counts, strict=True)
        ],
        "weights": weights,
        "engines": engines,
        "versions": last.recipe.get("versions") or software_versions(),
    }


def _cache_names(texts: list[str]) -> list[str]:
    """Names of folders, which differ and which every system takes."""
    last = [Path(text).name or "cache" for text in texts]
    return file_names([name if last.index(name) == k else f"{name}-{k + 1}" for k, name in enumerate(last)], "")


def _rename_weights(backbone: dict[str, Any], session: SessionFolder) -> dict[str, str]:
    """Have settings name a file of weights without its path; return what is known of the weights."""
    weights = str(backbone["weights"])
    found = {"network": str(backbone["name"]), "weights": weights}
    if weights in _WORDS:
        return found
    place = stored_place(weights, session.path)
    backbone["weights"] = place.name
    found["weights"] = place.name
    if place.is_file():
        with place.open("rb") as file:
            found["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _write_records(session: SessionFolder, home: Path, texts: list[str]) -> None:
    known = read_records(session.path)
    records = {
        new: dataclasses.replace(known.get(old) or CacheRecord.of(place), place="")
        for new, old, place in zip(texts, session.cache_names, session.cache_folders, strict=True)
    }
    write_records(home, records)


def _write_round(
    last: Round, cache: Cache, folder: Path, texts: list[str], progress: Callable[[Progress], None] | None
) -> list[str]:
    """Write recipe, checkpoint and scores of a round; return what its scores were computed with."""
    (folder / SCORES).mkdir(parents=True)
    recipe = dict(last.recipe)
    counts = list(recipe.get("caches", {}).values())
    recipe["caches"] = dict(zip(texts, counts, strict=False))  # in the order in which they joined
    write_json(folder / RECIPE, _public(recipe))
    if last.weights.is_file():
        _copy_checkpoint(last.weights, folder / WEIGHTS)
    engines: dict[str, None] = {}
    for number, scores in enumerate(last.shard_scores(cache), 1):
        shutil.copyfile(last.scores / f"{scores.shard}.h5", folder / SCORES / f"{scores.shard}.h5")
        engines.setdefault(scores.engine)
        if progress is not None:
            progress(Progress("scores", number, len(cache.shards)))
    return [engine for engine in engines if engine]


def _copy_checkpoint(source: Path, target: Path) -> None:
    from astroanomaly.learn.network.checkpoint import Checkpoint

    checkpoint = Checkpoint.load(source)
    if checkpoint.backbone.weights in _WORDS:
        shutil.copyfile(source, target)
        return
    backbone = dataclasses.replace(checkpoint.backbone, weights=Path(checkpoint.backbone.weights).name)
    dataclasses.replace(checkpoint, backbone=backbone).save(target)


def _copy_cache(source: Path, target: Path, progress: Callable[[Progress], None] | None) -> None:
    """Copy the cutouts of a cache; of what it was made from, only names of files are kept, and no plan."""
    cache = Cache.open(source)
    create_cache(target, cache.layout, (), _public(cache.request))
    shards = cache.shards
    for number, shard in enumerate(shards, 1):
        shutil.copyfile(shard.path, target / SHARD_FOLDER / shard.path.name)
        if progress is not None:
            progress(Progress("caches", number, len(shards)))


def _public(value: Any) -> Any:
    """Return plain values with the name of each file and folder instead of its path."""
    if isinstance(value, Mapping):
        return {str(key): _public(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_public(item) for item in value]
    return public({"": value})[""] if isinstance(value, str) else value
