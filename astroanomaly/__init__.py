"""Find the rare objects in an astronomical imaging survey from a handful of examples.

The names below are the public surface. They are loaded when first used, so that ``import astroanomaly`` stays light:
it brings in neither torch nor bokeh nor astroquery nor scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astroanomaly.bands import wavelength_nm
    from astroanomaly.cache import Cache
    from astroanomaly.catalog import Catalog, read_catalog
    from astroanomaly.config import FetchConfig, option
    from astroanomaly.errors import (
        AstroAnomalyError,
        BandError,
        BusyError,
        CacheError,
        CatalogError,
        CheckpointError,
        ClusterError,
        ConfigError,
        FetchError,
        FootprintError,
        LabelError,
        PluginError,
        SessionError,
        StorageError,
        TrainingError,
        UnknownObjectError,
        UnreadableError,
    )
    from astroanomaly.hookspecs import Ranker, RankerContext, ShardScores, Source, hookimpl
    from astroanomaly.ingestion import ingest
    from astroanomaly.learn.feature_ranker import FeatureRanker
    from astroanomaly.learn.outliers import OutlierOptions, OutlierRanker
    from astroanomaly.learn.pretraining import pretrain
    from astroanomaly.records import (
        Cutout,
        CutoutBlock,
        Download,
        Failure,
        Grid,
        Labelled,
        Layout,
        Plan,
        Progress,
        Request,
        Task,
    )
    from astroanomaly.session import Session

__version__ = "0.1.0"

_HOMES = {
    "bands": ("wavelength_nm",),
    "cache": ("Cache",),
    "catalog": ("Catalog", "read_catalog"),
    "config": ("FetchConfig", "option"),
    "errors": (
        "AstroAnomalyError",
        "BandError",
        "BusyError",
        "CacheError",
        "CatalogError",
        "CheckpointError",
        "ClusterError",
        "ConfigError",
        "FetchError",
        "FootprintError",
        "LabelError",
        "PluginError",
        "SessionError",
        "StorageError",
        "TrainingError",
        "UnknownObjectError",
        "UnreadableError",
    ),
    "hookspecs": ("Ranker", "RankerContext", "ShardScores", "Source", "hookimpl"),
    "ingestion": ("ingest",),
    "learn.feature_ranker": ("FeatureRanker",),
    "learn.outliers": ("OutlierOptions", "OutlierRanker"),
    "learn.pretraining": ("pretrain",),
    "records": (
        "Cutout",
        "CutoutBlock",
        "Download",
        "Failure",
        "Grid",
        "Labelled",
        "Layout",
        "Plan",
        "Progress",
        "Request",
        "Task",
    ),
    "session": ("Session",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AstroAnomalyError",
    "BandError",
    "BusyError",
    "Cache",
    "CacheError",
    "Catalog",
    "CatalogError",
    "CheckpointError",
    "ClusterError",
    "ConfigError",
    "Cutout",
    "CutoutBlock",
    "Download",
    "Failure",
    "FeatureRanker",
    "FetchConfig",
    "FetchError",
    "FootprintError",
    "Grid",
    "LabelError",
    "Labelled",
    "Layout",
    "OutlierOptions",
    "OutlierRanker",
    "Plan",
    "PluginError",
    "Progress",
    "Ranker",
    "RankerContext",
    "Request",
    "Session",
    "SessionError",
    "ShardScores",
    "Source",
    "StorageError",
    "Task",
    "TrainingError",
    "UnknownObjectError",
    "UnreadableError",
    "__version__",
    "hookimpl",
    "ingest",
    "option",
    "pretrain",
    "read_catalog",
    "wavelength_nm",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'astroanomaly' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"astroanomaly.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
