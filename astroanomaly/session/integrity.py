"""Read every file of a session and of its caches, and compare it with its digest."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path

from astroanomaly.cache.check import (
    CheckedFile,
    Damage,
    Integrity,
    cache_files,
    check_files,
    feature_files,
    only_one,
    only_opened,
    score_files,
)
from astroanomaly.cache.file_digest import verify_json, verify_npy
from astroanomaly.cache.repair import move_aside
from astroanomaly.cache.schema import CACHE_FILE
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.files import read_json, read_toml
from astroanomaly.labels.log import LabelLog
from astroanomaly.learn.features.block_files import DESCRIPTION
from astroanomaly.records import Progress
from astroanomaly.session.blocks.given import BLOCKS
from astroanomaly.session.caches import read_records, stored_place
from astroanomaly.session.campaign.lists import CAMPAIGN_FILE, read_campaign
from astroanomaly.session.home import CONFIG_FILE
from astroanomaly.session.injection.completeness import COMPLETENESS, completeness_files, read_completeness_file
from astroanomaly.session.known import CROSSMATCHES, known_files, read_known_file
from astroanomaly.session.rounds import ROUNDS, list_rounds

__all__ = ["repair_session_steps", "session_files", "session_integrity"]


def session_integrity(session: Path) -> Generator[Progress, None, Integrity]:
    """Check a session and those of its caches that are there.

    Yields
    ------
    Progress
        One report per file.

    Returns
    -------
    Integrity
        What was found.
    """
    return (yield from check_files(_all_files(session)))


def repair_session_steps(
    session: Path, *, check: bool = True, only: Path | None = None
) -> Generator[Progress, None, tuple[Integrity, list[Path]]]:
    """Move damaged scores and features of a session aside; yield progress, return what was found and where they are.

    Parameters
    ----------
    check, only
        As in `astroanomaly.cache.repair.repair_steps`.
    """
    files = session_files(session)
    if only is not None:
        files = iter([only_one(files, only)])
    found = yield from check_files(files if check else only_opened(files))
    return found, move_aside(session, (damage for damage in found.damaged if _can_be_made_anew(damage)))


def session_files(session: Path) -> Iterator[CheckedFile]:
    """List the files of a session that are looked at, without those of its caches."""
    copy = "take a copy of it"
    yield CheckedFile(session / CONFIG_FILE, _verify_config, copy)
    if (session / "caches.json").is_file():
        yield CheckedFile(session / "caches.json", _verify_records, "move it aside: nothing is compared then")
    if (session / "labels.sqlite").is_file():
        yield CheckedFile(
            session / "labels.sqlite",
            _verify_labels,
            f"{copy}; or write what can be read with `astroanomaly labels export`, and import it into a new session",
        )
    if (session / CAMPAIGN_FILE).is_file():
        then = f"{copy}; or move it aside, and run `astroanomaly campaign assign` again"
        yield CheckedFile(session / CAMPAIGN_FILE, _verify_campaign, then)
    for file in known_files(session):
        then = "move it aside, and run `astroanomaly crossmatch` again"
        yield CheckedFile(file, _verify_known, then, read_known_file)
    for file in completeness_files(session):
        then = "move it aside, and run `astroanomaly inject` again"
        yield CheckedFile(file, _verify_completeness, then, read_completeness_file)
    for folder in sorted((session / ROUNDS).glob("[0-9]*")):
        yield CheckedFile(folder / "ranker.json", _verify_recipe, f"{copy}, or train again")
        if (folder / "model.safetensors").is_file():
            yield CheckedFile(
                folder / "model.safetensors",
                _verify_checkpoint,
                f"{copy}, or train again; the scores of this round stay as they are",
            )
        then = f"`astroanomaly score {session}` then scores the objects of its shard again"
        yield from score_files(folder / "scores", then)
    yield from feature_files(session / "features")
    for file in sorted((session / BLOCKS).glob("*/*")):
        then = "restore it from a copy, or start a new session with the block"
        if file.name == DESCRIPTION:
            yield CheckedFile(file, _verify_block, then)
        elif file.suffix == ".npy":
            yield CheckedFile(file, verify_npy, then)


def _all_files(session: Path) -> Iterator[CheckedFile]:
    yield from session_files(session)
    with contextlib.suppress(AstroAnomalyError, KeyError, TypeError):  # the file of the session is damaged, and named
        for text in read_toml(session / CONFIG_FILE)["caches"]:
            folder = stored_place(str(text), session)
            if (folder / CACHE_FILE).is_file():
                yield from cache_files(folder)


def _can_be_made_anew(damage: Damage) -> bool:
    if damage.path.parent.parent.name == BLOCKS:
        return False
    return damage.path.suffix == ".npy" or damage.path.parent.name in ("scores", CROSSMATCHES, COMPLETENESS)


def _verify_config(path: Path) -> None:
    read_toml(path)


def _verify_records(path: Path) -> None:
    read_records(path.parent)


def _verify_recipe(path: Path) -> None:
    read_json(path)
    list_rounds(path.parent.parent)


def _verify_labels(path: Path) -> bool:
    with LabelLog.open(path) as log:
        return log.verify()


def _verify_block(path: Path) -> bool:
    return verify_json(read_json(path), path)


def _verify_campaign(path: Path) -> bool:
    read_campaign(path.parent)
    return True


def _verify_known(path: Path) -> bool:
    read_known_file(path)
    return True


def _verify_completeness(path: Path) -> bool:
    read_completeness_file(path)
    return True


def _verify_checkpoint(path: Path) -> bool:
    from astroanomaly.learn.network.checkpoint import has_digest

    return has_digest(path)
