"""What the images of stacks are called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from astroanomaly import CatalogError, UnreadableError
from astroanomaly_plugins.arrays.stacks import Stack

__all__ = ["unique_ids"]


def unique_ids(stacks: Sequence[Stack]) -> list[str]:
    """Return the ids of all images, one stack after another: names beside the images, else file and number.

    Raises
    ------
    CatalogError
        If two images have one id.
    UnreadableError
        If there is no image at all.
    """
    ids: list[str] = []
    for stack, called in zip(stacks, _stack_names(stacks), strict=True):
        if len(stack.names) not in (0, len(stack)):
            raise CatalogError(f"{stack.where} has {len(stack.names)} names for {len(stack)} images")
        ids += stack.names if len(stack.names) else [f"{called}/{k:06d}" for k in range(len(stack))]
    twice, times = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if not ids:
        raise UnreadableError(f"{stacks[0].where} holds no image")
    if times > 1:
        holders = [stack.where for stack in stacks if twice in set(stack.names)]
        if not holders:
            again = Counter(stack.where for stack in stacks).most_common(1)[0][0]
            raise CatalogError(f"{again} is given twice: name each file once")
        if len(holders) == 1:
            raise CatalogError(
                f"{holders[0]}: {times} images are called {twice!r}, and ids are unique. Give each image a name of its "
                "own, or leave the names out of the file: then its images are numbered"
            )
        raise CatalogError(
            f"two images have the id {twice!r}: {holders[0]} and {holders[1]}. Ingest each file into a cache of its "
            "own, with --prefix"
        )
    return ids


def _stack_names(stacks: Sequence[Stack]) -> list[str]:
    """Return what the images of each stack are called by: the name of the file, with its folders where two share it."""
    times = Counter(stack.path.stem for stack in stacks)
    if max(times.values()) == 1:
        return [stack.path.stem for stack in stacks]
    above = Path(os.path.commonpath([stack.path.parent for stack in stacks]))
    paths = [stack.path.relative_to(above) for stack in stacks]
    whole = Counter(path.with_suffix("") for path in paths)
    return [
        path.stem
        if times[path.stem] == 1
        else (path.with_suffix("") if whole[path.with_suffix("")] == 1 else path).as_posix()
        for path in paths
    ]
