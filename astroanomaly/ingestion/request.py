"""The request of a user to a source, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from astroanomaly.config import FetchConfig, build, to_plain
from astroanomaly.hookspecs import Source
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Request, Task

__all__ = ["SourceRequest"]


@dataclass(frozen=True)
class SourceRequest:
    """What is to be cut from a survey, and how; made by `SourceRequest.of`.

    Attributes
    ----------
    source
        The source.
    inputs
        Absolute paths of files and folders, or addresses.
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
    """

    source: Source
    inputs: tuple[str, ...]
    options: Any
    prefix: str = ""
    fetch: FetchConfig = field(default_factory=FetchConfig)
    retry_failed: bool = False
    compression: str | None = None

    @classmethod
    def of(
        cls,
        source: str | Source,
        inputs: str | Path | Sequence[str | Path] = (),
        *,
        options: Mapping[str, Any] | None = None,
        prefix: str = "",
        fetch: FetchConfig | Mapping[str, Any] | None = None,
        retry_failed: bool = False,
        compression: str | None = None,
    ) -> Self:
        """Find the source, and check its options; parameters are those of `astroanomaly.ingest`.

        Raises
        ------
        PluginError
            If there is no such source.
        ConfigError
            For an unknown option or a value that does not fit.
        """
        loaded = load_plugins().source(source) if isinstance(source, str) else source
        given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
        return cls(
            loaded,
            tuple(_absolute_path(item) for item in given),
            _absolute_options(build(loaded.Options, dict(options or {}))),
            prefix,
            fetch if isinstance(fetch, FetchConfig) else build(FetchConfig, fetch or {}, "fetch"),
            retry_failed,
            compression,
        )

    def plan(self) -> Iterable[Task]:
        """Ask the source for its tasks."""
        return self.source.plan(Request(self.inputs), self.options)

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


def _absolute_path(item: str | Path) -> str:
    text = str(item)
    return text if "://" in text else str(Path(text).absolute())
