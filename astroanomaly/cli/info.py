"""The command that says what a cache, a session or this installation is: info."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astroanomaly.cli.common import many
from astroanomaly.cli.progress import follow
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.errors import DamagedError, UnreadableError
from astroanomaly.learn.engine.device import gpu_names
from astroanomaly.parallel.cores import available_cores

if TYPE_CHECKING:
    from astroanomaly.cache.check import Integrity
    from astroanomaly.session.folder import SessionFolder
    from astroanomaly.session.rounds import Round

__all__ = ["add"]

_PACKAGES = ("astroanomaly", "numpy", "astropy", "h5py", "torch", "timm", "scikit-learn", "reproject", "pluggy")
_EXTRAS = {
    "openvino": "fast",
    "distributed": "dask",
    "pyarrow": "parquet",
    "s3fs": "cloud",
    "pyod": "pyod",
    "specutils": "spectra",
}


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_info)
    parser.add_argument(
        "path",
        nargs="?",
        type=Path,
        metavar="PATH",
        help="a cache or a session, or one file of it for --check and --repair; left out: this installation",
    )
    parser.add_argument("--digest", action="store_true", help="also compute the digest of a cache (reads all pixels)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="read every file of a cache or session, and name those that are damaged; exit status 2 if there are any",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="move aside shards that double others, and files that cannot be opened (with --check, or for one file: "
        "that are damaged), so that they are made anew; nothing is deleted",
    )


def _info(arguments: argparse.Namespace) -> None:
    path: Path | None = arguments.path
    if arguments.repair:
        _repair(path, arguments.check)
        path = path if path is None or path.is_dir() else _owner(path)
    elif arguments.check:
        _check(path)
        return
    if path is None:
        rows = _installation()
    elif (path / "session.toml").is_file():
        rows = _session(path)
    elif (path / "cache.json").is_file():
        rows = _cache(path, arguments.digest)
    else:
        raise UnreadableError(f"{path} is neither a cache (no cache.json) nor a session (no session.toml)")
    show_table("", ["", ""], rows)


def _check(path: Path | None) -> None:
    from astroanomaly.cache.check import cache_files, check_files, only_one
    from astroanomaly.session.integrity import session_files, session_integrity

    path, is_session, only = _given(path, "--check")
    if only is not None:
        found = follow(check_files([only_one(session_files(path) if is_session else cache_files(path), only)]))
    else:
        found = follow(session_integrity(path) if is_session else check_files(cache_files(path)))
    _show_damage(found)
    say(f"{many(found.files, 'file')} read, {found.nbytes / 1e6:.1f} MB")
    if found.without_digest:
        say(f"{found.without_digest} of them have no digest: written by an earlier version, or by hand")
    if found.damaged:
        raise DamagedError(f"{len(found.damaged)} of {many(found.files, 'file')} of {path} are damaged")
    say("nothing is damaged")


def _repair(path: Path | None, check: bool) -> None:
    from astroanomaly.cache.repair import repair_steps
    from astroanomaly.session.integrity import repair_session_steps

    path, is_session, only = _given(path, "--repair")
    steps = repair_session_steps if is_session else repair_steps
    found, moved = follow(steps(path, check=check or only is not None, only=only))
    _show_damage(found)
    for place in moved:
        say(f"moved aside: {place}")
    if only is None and not check:
        say("files were opened only: with --check they are read to their end")
    left = [damage for damage in found.damaged if damage.path.exists()]
    if left:
        raise DamagedError(f"{left[0].path} is damaged and nothing makes it anew: {left[0].way_out}")


def _given(path: Path | None, flag: str) -> tuple[Path, bool, Path | None]:
    """Return the folder, whether it is that of a session and not of a cache, and the one file of it that was named."""
    folder = None if path is None else path if path.is_dir() else _owner(path)
    if path is None or folder is None or not _is_ours(folder):
        what = path or "this installation"
        raise UnreadableError(f"{flag} takes the folder of a cache or of a session, or a file in one, not {what}")
    return folder, (folder / "session.toml").is_file(), None if path.is_dir() else path


def _owner(path: Path) -> Path | None:
    """Return the cache or session that a file is in."""
    return next(filter(_is_ours, path.absolute().parents), None)


def _is_ours(folder: Path) -> bool:
    return (folder / "session.toml").is_file() or (folder / "cache.json").is_file()


def _show_damage(found: Integrity) -> None:
    for damage in found.damaged:
        say(f"damaged: {damage.path}")
        say(f"  {damage.what}")
        say(f"  way out: {damage.way_out}")


def _installation() -> list[tuple[str, str]]:
    rows = [("python", platform.python_version())]
    rows += [(name, importlib.metadata.version(name)) for name in _PACKAGES]
    for name, extra in _EXTRAS.items():
        try:
            rows.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, f"not installed: pip install 'astroanomaly[{extra}]'"))
    rows.append(("cores", str(available_cores())))
    rows.append(("gpus", ", ".join(gpu_names()) or "none"))
    return rows


def _cache(path: Path, digest: bool) -> list[tuple[str, str]]:
    from astroanomaly.cache import Cache
    from astroanomaly.cache.digest import digest_steps
    from astroanomaly.cache.plan import count_plan
    from astroanomaly.cache.scores import count_tasks
    from astroanomaly.session.rounds import SCORES

    cache = Cache.open(path)
    layout, request = cache.layout, cache.request
    reasons = Counter(failure.reason for failure in cache.failures)
    size = sum(item.stat().st_size for item in (path / "shards").glob("*.h5"))
    rows = [
        ("cache", str(path)),
        ("objects", str(len(cache))),
        ("failures", str(reasons.total())),
        *((f"  {count} x", reason) for reason, count in reasons.most_common(5)),
        ("bands", ", ".join(f"{b} [{u}]" if u else b for b, u in zip(layout.bands, layout.units, strict=True))),
        ("pixels", f"{layout.height} x {layout.width} {layout.dtype}, {layout.pixel_kind}"),
        ("shards", f"{len(cache.shards)}, {size / 1e6:.1f} MB"),
        *([("damaged", _damaged(len(cache.damaged), path))] if cache.damaged else []),
        *([("ignored", _ignored(len(cache.ignored), path))] if cache.ignored else []),
        ("source", str(request.get("source", ""))),
        ("inputs", ", ".join(request.get("inputs", []))),
        ("options", ", ".join(f"{key}={value}" for key, value in request.get("options", {}).items())),
        *((f"understood: {fact.name}", fact.text) for fact in cache.facts.values()),
    ]
    for folder in sorted(path.glob("round-*")):  # a survey scored from its source
        rows.append((folder.name, f"{count_tasks(folder / SCORES)} of {count_plan(path)[0]} tasks scored"))
    if digest:
        rows.append(("digest", follow(digest_steps(cache))))
    return rows


def _damaged(number: int, path: Path) -> str:
    return f"{many(number, 'shard')} at least: `astroanomaly info {path} --check` tells more"


def _ignored(number: int, path: Path) -> str:
    return f"{many(number, 'shard')} that double others: `astroanomaly info {path} --repair` moves them aside"


def _session(path: Path) -> list[tuple[str, str]]:
    from astroanomaly.session.audit import describe_sample
    from astroanomaly.session.folder import SessionFolder

    session = SessionFolder.open(path)
    counts = ", ".join(f"{count} {label}" for label, count in session.labels.counts().items())
    seen = session.model_input
    audit = session.labels.audit_set()
    sample = describe_sample(audit)
    rows = [
        ("session", str(path)),
        ("caches", ", ".join(map(_there, session.cache_folders))),
        ("objects", _count_objects(session)),
        ("label classes", ", ".join(session.classes)),
        *([("grades", str(session.grades))] if session.grades is not None else []),
        ("labels", counts or "none"),
        ("audit set", str(len(audit.ids)) + (f", from {sample}" if sample else "")),
        ("network", f"{session.section('backbone')['name']} at {seen.size} pixels, {seen.views} views"),
        *((one.name, one.text) for one in session.advice),
    ]
    rows += [
        (
            f"round {item.number}",
            f"{item.ranker}, {item.recipe.get('created', '')}"
            + ("" if _is_scored(session, item) else ", not all scored"),
        )
        for item in session.rounds
    ]
    return rows


def _there(folder: Path) -> str:
    return str(folder) if (folder / "cache.json").is_file() else f"{folder} (not there)"


def _count_objects(session: SessionFolder) -> str:
    try:
        return str(len(session.objects))
    except UnreadableError:
        return "not known without the cache: see `astroanomaly relocate`"


def _is_scored(session: SessionFolder, item: Round) -> bool:
    try:
        return item.is_scored(session.objects)
    except UnreadableError:  # no round has scored everything
        return False
