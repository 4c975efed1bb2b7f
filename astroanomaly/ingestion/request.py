"""The request of a user to a source, checked."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from astroanomaly.arguments import as_mapping
from astroanomaly.config import FetchConfig, build, to_plain
from astroanomaly.errors import ConfigError
from astroanomaly.hookspecs import Source
from astroanomaly.ingestion.inputs import MemoryImages, find_inputs
from astroanomaly.ingestion.replay import recorded_request
from astroanomaly.parallel.limits import ReadLimits, limited
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Plan, Request, Task

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

__all__ = ["SourceRequest"]


@dataclass(frozen=True)
class SourceRequest:
    """What is to be cut from a survey, and how; made by `SourceRequest.of`.

    Attributes
    ----------
    source
        The source.
    inputs
        Absolute paths of files and folders, or addresses; names of images in memory.
    options
        Options of the source, an instance of its ``Options``; paths among them are absolute.
    prefix
        Put before every object id.
    fetch
        How archives are asked.
    retry_failed
        Whether objects that have failed in an earlier run are tried again.
    compression
        Of the pixels in a cache: None, or ``gzip``.
    limits
        What a file may ask for, in memory and time too.
    memory
        FITS images in memory by their names among the inputs; `stored` writes them to files.
    """

    source: Source
    inputs: tuple[str, ...]
    options: Any
    prefix: str = ""
    fetch: FetchConfig = field(default_factory=FetchConfig)
    retry_failed: bool = False
    compression: str | None = None
    limits: ReadLimits = field(default_factory=ReadLimits)
    memory: Mapping[str, MemoryImages] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        source: str | Source,
        inputs: str | Path | HDUList | Sequence[str | Path | HDUList] = (),
        *,
        options: Mapping[str, Any] | None = None,
        prefix: str = "",
        fetch: FetchConfig | Mapping[str, Any] | None = None,
        retry_failed: bool = False,
        compression: str | None = None,
        limits: ReadLimits | Mapping[str, Any] | None = None,
    ) -> Self:
        """Find the source, and check its options; parameters are those of `astroanomaly.ingest`.

        Raises
        ------
        PluginError
            If there is no such source.
        ConfigError
            For an unknown option or a value that does not fit.
        """
        loaded = load_plugins("source").source(source) if isinstance(source, str) else source
        if not all(hasattr(loaded, name) for name in ("name", "Options")):
            raise ConfigError(
                f"source: {type(source).__name__} is no source, expected the name of one or a source object"
            )
        if not isinstance(prefix, str):
            raise ConfigError(f"prefix: {type(prefix).__name__} cannot be put before ids: expected text")
        config = fetch if isinstance(fetch, FetchConfig) else build(FetchConfig, as_mapping(fetch, "fetch"), "fetch")
        if config.replay:
            inputs, options, prefix = recorded_request(loaded.name, inputs, options or {}, prefix, config)
        given = find_inputs(inputs)
        memory = {item.name: item for item in given if isinstance(item, MemoryImages)}
        return cls(
            loaded,
            tuple(item if isinstance(item, str) else item.name for item in given),
            _absolute_options(build(loaded.Options, dict(options or {}))),
            prefix,
            config,
            retry_failed,
            compression,
            limits if isinstance(limits, ReadLimits) else build(ReadLimits, limits or {}, "limits"),
            memory,
        )

    def stored(self, folder: Path, *, write: bool = True) -> Self:
        """Return the request with images in memory written to files in a folder.

        Parameters
        ----------
        folder
            Made when missing and needed.
        write
            False: only name the files.

        Raises
        ------
        UnreadableError, StorageError
            If that fails.
        """
        if not self.memory:
            return self
        if write:
            for images in self.memory.values():
                images.write(folder)
        paths = {name: str(folder.absolute() / name) for name in self.memory}
        return replace(self, inputs=tuple(paths.get(item, item) for item in self.inputs), memory={})

    @contextlib.contextmanager
    def stored_for_now(self) -> Iterator[Self]:
        """Give the request as `stored` does, in a folder that is there for the block only."""
        with tempfile.TemporaryDirectory(prefix="astroanomaly-") as folder:
            yield self.stored(Path(folder))

    def plan(self) -> Plan:
        """Ask the source for its tasks, which it makes as they are taken."""
        with limited(self.limits):
            plan = self.source.plan(Request(self.inputs), self.options)
        return replace(plan if isinstance(plan, Plan) else Plan(plan), tasks=self._tasks(plan))

    def _tasks(self, plan: Iterable[Task]) -> Iterator[Task]:
        tasks = iter(plan)
        while True:
            with limited(self.limits):
                task = next(tasks, None)
            if task is None:
                return
            yield task

    @property
    def description(self) -> dict[str, Any]:
        """What decides about the content of a cache, as it is kept with the cache: plain values."""
        return {
            "source": self.source.name,
            "inputs": list(self.inputs),
            "options": to_plain(self.options),
            "prefix": self.prefix,
        }


def _absolute_options(options: Any) -> Any:
    """Make paths among the options absolute, so that a resumed run finds them from anywhere."""
    changed = {name: value.absolute() for name, value in vars(options).items() if isinstance(value, Path)}
    return replace(options, **changed) if changed else options
