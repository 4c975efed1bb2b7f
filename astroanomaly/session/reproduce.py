"""Compute the ranking of a bundle again, and compare it with the scores that the bundle holds."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from astroanomaly.cache.scores import read_scores
from astroanomaly.errors import CacheError, ConfigError, SessionError, StorageError, UnreadableError
from astroanomaly.records import Progress
from astroanomaly.session.fitted import fitted_steps
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.home import CONFIG_FILE, read_session
from astroanomaly.session.outputs.check import BROKEN, OpenBundle, open_bundle
from astroanomaly.session.outputs.provenance import software_versions
from astroanomaly.session.outputs.stored_ranking import CACHES, SESSION
from astroanomaly.session.relocation import relocate

__all__ = ["TOLERANCE", "Reproduction", "reproduce_steps"]

TOLERANCE = 1e-4  # of log-odds
_OURS = ("bundled", "random")  # weights that need neither a file nor the network
_HUB = re.compile(r"hf[_-]hub:")
_CACHE_NAME = re.compile(rf"\.\./{CACHES}/[A-Za-z0-9_][A-Za-z0-9._+-]*")  # as `stored_ranking` writes them
_PART_BYTES = 2**20
_ASK = "ask for the bundle again"


@dataclass(frozen=True)
class Reproduction:
    """What came of computing a ranking again.

    Attributes
    ----------
    ranker, round
        Which ranking.
    how
        ``checkpoint`` (scored with the stored weights) or ``labels`` (learnt anew from settings and labels).
    objects
        How many were compared.
    greatest
        The greatest difference of log-odds of any class; NaN where nothing could be compared.
    worst
        Id of the object with the greatest difference.
    correlation
        Rank correlation (Spearman) of the scores then and now.
    unscored
        Number of objects that have a score then or now, but not both.
    tolerance
        How large a difference was allowed.
    then, now
        Versions of the packages that scores depend on.
    engines_then, engines_now
        What networks ran on.
    reasons
        What may explain a difference; empty where there is none.
    """

    ranker: str
    round: int
    how: str
    objects: int
    greatest: float
    worst: str
    correlation: float
    unscored: int
    tolerance: float
    then: Mapping[str, str]
    now: Mapping[str, str]
    engines_then: tuple[str, ...]
    engines_now: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every object has the same score, within the tolerance."""
        return not self.unscored and self.greatest <= self.tolerance


def reproduce_steps(
    path: Path, caches: Sequence[Path], *, weights: str = "", tolerance: float = TOLERANCE
) -> Generator[Progress, None, Reproduction]:
    """Compute a ranking again; see `Session.reproduce`. It works in a temporary folder, which is removed."""
    with tempfile.TemporaryDirectory(prefix="astroanomaly-") as temporary:
        folder = Path(temporary)
        with open_bundle(path) as bundle:
            stated = _ranking_of(bundle, path)
            yield from _unpack(bundle, path, folder)
        _settle(folder / SESSION, stated, weights)
        session = SessionFolder.open(folder / SESSION)
        session.labels.verify()
        messages: list[str] = []
        try:
            if caches:
                messages += relocate(session, caches).messages
            elif not session.has_caches:
                names = ", ".join(Path(text).name for text in session.cache_names)
                raise UnreadableError(
                    f"{path} does not include the cutouts of all objects: say where these caches are, each with "
                    f"--cache: {names}"
                )
            return (yield from _compare(session, stated, tolerance, messages))
        finally:
            session.labels.close()


# ------------------------------------------------------------------------------------------------- what a bundle holds


def _ranking_of(bundle: OpenBundle, path: Path) -> dict[str, Any]:
    """Return what a bundle says of its ranking, of which only texts and numbers that are checked are used."""
    stated = bundle.about.get("ranking")
    if stated is None:
        raise UnreadableError(
            f"{path} holds no ranking that could be computed again, written by {bundle.about.get('software', '?')}: "
            "ask for a bundle written with `astroanomaly bundle SESSION --ranking`"
        )
    if not isinstance(stated, dict) or stated.get("session") != SESSION:
        raise CacheError(f"{path} is damaged: its description of the ranking is not readable; {_ASK}")
    return stated


def _unpack(bundle: OpenBundle, path: Path, folder: Path) -> Generator[Progress, None, None]:
    """Copy the session and the caches of a bundle into a folder, each file compared with its checksum."""
    chosen = [name for name in bundle.files if name.split("/")[0] in (SESSION, CACHES) and "/" in name]
    needed, free = sum(bundle.files[name].size for name in chosen), shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{path} needs {needed / 1e9:.1f} GB of space while it is looked at; {folder.parent} has {free / 1e9:.1f} "
            "GB: set TMPDIR to a folder on a larger disk"
        )
    missing = [name for name in bundle.sums if name.split("/")[0] in (SESSION, CACHES) and name not in bundle.files]
    if missing:
        raise CacheError(f"{path} is not what was written: {missing[0]} is missing; {_ASK}")
    for number, name in enumerate(chosen, 1):
        if name not in bundle.sums:
            raise CacheError(f"{path} is not what was written: {name} is in no list of checksums; {_ASK}")
        target = folder.joinpath(*name.split("/"))
        digest = hashlib.sha256()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with bundle.files[name].open() as source, target.open("xb") as copy:
                while part := source.read(_PART_BYTES):
                    digest.update(part)
                    copy.write(part)
        except BROKEN as error:
            raise CacheError(f"{path}: {name} cannot be unpacked: {error}; {_ASK}") from error
        if digest.hexdigest() != bundle.sums[name]:
            raise CacheError(f"{path} is not what was written: {name} has changed; {_ASK}")
        yield Progress("unpacking", number, len(chosen))


def _settle(home: Path, stated: Mapping[str, Any], weights: str) -> None:
    """Check the settings of a stranger's session before anything is done with them, and put weights in their place.

    Raises
    ------
    CacheError
        If its caches would lie elsewhere.
    ConfigError
        If weights have to be given, or are others.
    """
    if not (home / CONFIG_FILE).is_file():
        raise CacheError(f"the bundle has no {SESSION}/{CONFIG_FILE}; {_ASK}")
    content = read_session(home)
    if not all(_CACHE_NAME.fullmatch(text) for text in content["caches"]):
        raise CacheError(f"the bundle names caches that lie outside of it: {', '.join(content['caches'])[:200]}")
    backbone = content["settings"]["backbone"]
    name, wanted = str(backbone.get("name", "")), str(backbone.get("weights", ""))
    foreign = wanted not in _OURS or _HUB.match(name) is not None
    if not foreign:
        return
    if not weights:
        raise ConfigError(
            f"the network {name} began with the weights {wanted}, which are not part of this package: give them with "
            "--weights, the path of the file, or `pretrained` to let timm download them"
        )
    if weights != "pretrained":
        place = Path(weights)
        if not place.is_file():
            raise UnreadableError(f"the weights {weights} do not exist")
        with place.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        known = stated.get("weights")
        expected = known.get("sha256") if isinstance(known, dict) else None
        if expected is not None and digest != expected:
            raise ConfigError(f"{weights} is not the file of weights that was used: its SHA-256 is another one")
        weights = str(place.absolute())
    elif wanted != "pretrained" and not _HUB.match(name):
        raise ConfigError(f"the network began with a file of weights, {wanted}: give its path with --weights")
    backbone["weights"] = weights
    (home / CONFIG_FILE).write_text(tomli_w.dumps(content), encoding="utf-8")


# -------------------------------------------------------------------------------------------------------- computing it


def _compare(
    session: SessionFolder, stated: Mapping[str, Any], tolerance: float, messages: list[str]
) -> Generator[Progress, None, Reproduction]:
    rounds = session.rounds
    if len(rounds) != 1:
        raise SessionError(f"the bundle has {len(rounds)} rounds, expected the one that gave its scores; {_ASK}")
    (last,) = rounds
    _check_recipe(last.recipe)
    cache = session.cache
    session.model_input.check(cache)
    ids, stored, engines_then = _stored_scores(last.scores, len(session.classes))
    lost = np.flatnonzero(cache.find(ids) < 0)
    if len(lost):
        raise CacheError(
            f"{len(lost)} of {len(ids)} objects with a score are not in the caches, such as {ids[int(lost[0])]!r}: "
            "they are others, or not all of them"
        )
    steps = fitted_steps(session, last)
    while True:
        try:
            report = next(steps)
        except StopIteration as end:
            ranker = end.value
            break
        messages += [report.message] if "was fitted when" in report.message else []
        yield report
    again = np.full(stored.shape, np.nan, np.float32)
    place = {object_id: k for k, object_id in enumerate(ids)}
    engines_now: dict[str, None] = {}
    done = 0
    yield Progress("scoring", 0, len(cache))
    for part in ranker.score(cache):
        rows = [(place[object_id], k) for k, object_id in enumerate(part.ids) if object_id in place]
        if rows:
            to, of = np.array(rows, np.intp).T
            again[to] = part.log_odds[of]
        engines_now.setdefault(part.engine)
        done += len(part.ids)
        yield Progress("scoring", done, len(cache))
    now, then = software_versions(), _texts(stated.get("versions"))
    found = _differences(ids, stored, again)
    result = Reproduction(
        last.ranker, last.number, "checkpoint" if ranker.has_weights else "labels", len(ids), *found, tolerance,
        then, now, engines_then, tuple(filter(None, engines_now)), (),
    )  # fmt: skip
    return result if result.ok else _with_reasons(result, messages)


def _check_recipe(recipe: Mapping[str, Any]) -> None:
    """Refuse a recipe without what a ranker is made of."""
    caches, draws = recipe.get("caches", {}), recipe.get("audit_draws", 0)
    counted = isinstance(caches, dict) and all(type(count) is int for count in caches.values())
    if not isinstance(recipe.get("options"), dict) or not counted or type(draws) is not int:
        raise CacheError(f"the recipe of the bundle's ranking is damaged; {_ASK}")


def _stored_scores(folder: Path, classes: int) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Ids, ``(N, classes)`` log-odds, and what networks ran on."""
    parts = [read_scores(folder, path.stem) for path in sorted(folder.glob("*.h5"))]
    ids = [object_id for part in parts for object_id in part.ids]
    if not ids or len(set(ids)) < len(ids) or any(part.log_odds.shape[1] != classes for part in parts):
        raise CacheError(f"the scores of the bundle are damaged: {len(ids)} of them; {_ASK}")
    engines = tuple(dict.fromkeys(part.engine for part in parts if part.engine))
    return ids, np.concatenate([part.log_odds for part in parts]), engines


def _differences(ids: Sequence[str], then: np.ndarray, now: np.ndarray) -> tuple[float, str, float, int]:
    """Return the greatest difference, whose it is, the rank correlation, and how many have a score once only."""
    from scipy.stats import spearmanr

    known = np.isfinite(then)
    once = (known != np.isfinite(now)).any(axis=1)
    apart = np.where(known & np.isfinite(now), np.abs(then.astype(np.float64) - now), 0.0).max(axis=1)
    row = int(apart.argmax())
    both = known[:, 0] & np.isfinite(now[:, 0])
    scores = -then[both, 0], -now[both, 0]
    constant = not both.any() or any(np.ptp(one) == 0 for one in scores)
    correlation = float("nan") if constant else float(spearmanr(*scores).statistic)
    return (float(apart[row]) if both.any() else float("nan")), ids[row], correlation, int(once.sum())


def _with_reasons(found: Reproduction, messages: Sequence[str]) -> Reproduction:
    reasons = list(messages)
    if found.unscored:
        reasons.append(f"{found.unscored} objects have a score then or now only: cutouts may be damaged")
    if found.engines_then and found.engines_now and set(found.engines_then) != set(found.engines_now):
        reasons.append(
            f"networks ran on {', '.join(found.engines_then)} then, and on {', '.join(found.engines_now)} now"
        )
    other = [
        f"{name} {found.then.get(name, 'none')} then, {found.now.get(name, 'none')} now"
        for name in {**found.then, **found.now}
        if found.then.get(name) != found.now.get(name)
    ]
    reasons += [f"other versions: {'; '.join(other)}"] if other else []
    if not reasons:
        reasons.append(
            "versions and engine are the same: another processor rounds otherwise, or the bundle was made of files "
            "that do not belong together"
        )
    return replace(found, reasons=tuple(reasons))


def _texts(value: Any) -> dict[str, str]:
    return {str(key)[:40]: str(one)[:40] for key, one in value.items()} if isinstance(value, dict) else {}
