"""Every exception that AstroAnomaly raises on purpose.

Each class derives from `AstroAnomalyError` and from the built-in exception a caller would expect. A message says
what failed for which object, what was found, what was expected and what to do about it. The page
``docs/troubleshooting.md`` has a paragraph on each class.
"""

from collections.abc import Sequence

__all__ = [
    "AstroAnomalyError",
    "BandError",
    "BudgetError",
    "BusyError",
    "CacheError",
    "CatalogError",
    "CheckpointError",
    "ClusterError",
    "ConfigError",
    "DamagedError",
    "FetchError",
    "FootprintError",
    "LabelError",
    "PluginError",
    "SessionError",
    "StorageError",
    "TrainingError",
    "UnknownObjectError",
    "UnreadableError",
]


class AstroAnomalyError(Exception):
    """Base of all errors raised by this package."""


class ConfigError(AstroAnomalyError, ValueError):
    """A setting is unknown or has a value it cannot have."""


class CatalogError(AstroAnomalyError, ValueError):
    """A catalogue lacks what is needed: positions, ids, or rows."""


class BandError(AstroAnomalyError, ValueError):
    """A band is missing, named twice, or cannot be told from another."""


class FootprintError(AstroAnomalyError, ValueError):
    """No object lies on the images."""


class CacheError(AstroAnomalyError, ValueError):
    """A cache is damaged, of a newer format, or does not fit its use."""


class DamagedError(CacheError):
    """A file of ours is not as it was written.

    Parameters
    ----------
    message
        Which file, and the way out.
    rows
        Rows in their shard of the objects that cannot be read.
    ids
        Ids of these objects, where they are known.
    """

    def __init__(self, message: str, rows: Sequence[int] = (), ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)
        self.ids = tuple(ids)


class LabelError(AstroAnomalyError, ValueError):
    """A label has an unknown word, an unknown object, or no match."""


class SessionError(AstroAnomalyError, ValueError):
    """A session is incomplete, or is asked for what it cannot do yet."""


class TrainingError(AstroAnomalyError, ValueError):
    """A ranker cannot learn from what it was given."""


class CheckpointError(AstroAnomalyError, ValueError):
    """A checkpoint is damaged or does not fit the cache it is used on."""


class PluginError(AstroAnomalyError, RuntimeError):
    """A plugin is missing, clashes with another, or breaks its contract."""


class BusyError(AstroAnomalyError, RuntimeError):
    """Another process holds what this one needs to write."""


class StorageError(AstroAnomalyError, OSError):
    """Writing failed: no space left, no permission, or a vanished folder."""


class UnreadableError(AstroAnomalyError, OSError):
    """A file is missing or cannot be read as what it claims to be."""


class BudgetError(UnreadableError):
    """Reading a file had to be ended: it took too long, or it crashed a library."""


class ClusterError(AstroAnomalyError, RuntimeError):
    """A Dask cluster cannot be reached, lost its scheduler, or cannot do what is asked of it."""


class FetchError(AstroAnomalyError, OSError):
    """A service on the network did not give what it was asked for.

    Parameters
    ----------
    message
        What was asked of which service, what came of it and the way out. Never a password, never a query.
    retryable
        Whether the same request may succeed later: a time-out, a broken connection, a busy server.
    reason
        The message without the object it is about, so that equal reasons can be counted: for `Failure`. Default: the
        message.
    status
        HTTP status of the answer, 0 where there was none.
    wait_s
        Seconds the service asked to wait before the next request.
    down
        Whether the host itself seems to be down: it does not answer, or says that it is out of service.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        reason: str = "",
        status: int = 0,
        wait_s: float = 0.0,
        down: bool = False,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.reason = reason or message
        self.status = status
        self.wait_s = wait_s
        self.down = down


class UnknownObjectError(AstroAnomalyError, KeyError):
    """An object id is in none of the caches."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""
