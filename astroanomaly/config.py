"""Settings: small frozen dataclasses, one per consumer, checked wherever they come from.

A field made by `option` carries its help text, so that the same dataclass becomes TOML keys, command-line flags and
keyword arguments. Unknown keys are rejected with the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from astroanomaly.errors import ConfigError

__all__ = [
    "BackboneConfig",
    "FetchConfig",
    "InputConfig",
    "SessionConfig",
    "StretchConfig",
    "build",
    "check_value",
    "current_names",
    "former_names",
    "nearest",
    "option",
    "option_types",
    "replace_many",
    "to_plain",
    "unknown_setting",
]

T = TypeVar("T")
_SHOWN_LETTERS = 200  # of a value in a message


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    metavar: str = "",
    choices: Iterable[str] = (),
    flag: str = "",
    formerly: Iterable[str] = (),
    convert: Callable[[Any, str], Any] | None = None,
) -> Any:
    """Declare a field of an options dataclass with the help text its flag shows.

    Parameters
    ----------
    default
        Default value; left out, the option must be given. Mutable defaults are not allowed: use tuples.
    help
        One sentence for ``--help`` and the documentation.
    metavar
        How the value is called in ``--help``.
    choices
        Allowed values; needless where the type is a `typing.Literal`.
    flag
        Name of the flag without its dashes, where it is not that of the field.
    formerly
        Names that the field had in earlier versions: who types one is told the new name, what is stored under one is
        read (`current_names`).
    convert
        Brings what Python callers may give beside the declared type (an astropy quantity, a table) to that type; called
        with the value and the name of the option. Raises `ConfigError` for what it does not take.
    """
    metadata = {
        "help": help,
        "metavar": metavar,
        "choices": tuple(choices),
        "flag": flag,
        "formerly": tuple(formerly),
        "convert": convert,
    }
    return dataclasses.field(default=default, metadata=metadata)


# ---------------------------------------------------------------------------------------------- what the model sees


@dataclasses.dataclass(frozen=True)
class StretchConfig:
    """Stretch from linear flux to [0, 1]: an interval and a curve."""

    curve: Literal["linear", "sqrt", "log", "asinh", "sinh", "power", "squared", "histogram"] = option(
        "asinh", "shape of the curve; histogram equalisation is for the eye only"
    )
    strength: float = option(0.0, "parameter of log, asinh, sinh and power; 0 takes the default of astropy")
    interval: Literal["minmax", "percentile", "zscale", "sigma", "mad", "manual"] = option(
        "percentile", "how the black and the white level are found"
    )
    low: float = option(0.5, "percentile interval: percentage of pixels below the black level")
    high: float = option(99.8, "percentile interval: percentage of pixels below the white level")
    sigma_low: float = option(1.0, "sigma and mad intervals: black level this many deviations below the centre")
    sigma_high: float = option(10.0, "sigma and mad intervals: white level this many deviations above the centre")
    black: float = option(0.0, "manual interval: black level in flux units")
    white: float = option(1.0, "manual interval: white level in flux units")
    scope: Literal["survey", "cutout"] = option(
        "survey", "one interval per band for all cutouts, measured once and frozen; or one for each cutout"
    )
    shared: bool = option(False, "one interval for all bands together, which keeps colours")

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ConfigError(f"stretch.low={self.low} and stretch.high={self.high}: expected 0 <= low < high <= 100")
        if self.interval == "manual" and not self.black < self.white:
            raise ConfigError(f"stretch.black={self.black} must be below stretch.white={self.white}")
        if self.strength < 0 or self.sigma_low < 0 or self.sigma_high <= 0:
            raise ConfigError("stretch.strength, stretch.sigma_low and stretch.sigma_high must not be negative")


@dataclasses.dataclass(frozen=True)
class InputConfig:
    """The network's input: bands, size and views of a cutout."""

    size: int = option(128, "side of the square image the network gets, in pixels; 224 is the published setting")
    views: Literal["auto", "sky", "picture"] = option(
        "auto",
        "sky: there is no up, flips and 90 degree rotations are equal; picture: keep the up; auto: as the "
        "files say, else measured on the images when the session is made",
    )
    tta_views: int = option(
        2,
        "views of an object that are averaged at test time (test-time augmentation), in as much more time: on the sky "
        "1, 2 or 4 rotated ones; of a picture 1, or 2 with its mirror image",
        formerly=("turns",),
    )
    channels: str = option(
        "", "bands for red, green and blue, as in 'i,r,g' or 'z,i+r,g'; empty: longest wavelength is red"
    )

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 1024:
            raise ConfigError(f"input.size={self.size}: expected 32 to 1024 pixels")
        if self.tta_views not in (1, 2, 4):
            raise ConfigError(f"input.tta_views={self.tta_views}: expected 1, 2 or 4")


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """The neural network and its weights."""

    name: str = option("tf_efficientnet_lite2", "any timm model name, or hf_hub:OWNER/MODEL")
    weights: str = option(
        "bundled",
        "bundled (ImageNet weights that come with the package: tf_efficientnet_lite2 and, faster, "
        "tf_efficientnet_lite0), random, pretrained (timm downloads them), or the path of a local .safetensors, .pth, "
        ".pt, .bin or .ckpt file",
    )
    layers: Literal["auto", "last", "several", "scales"] = option(
        "auto",
        "frozen features. last: of the end of the network; scales: of its last four stages, in the middle of the "
        "cutout, at the input's size and at three eighths of it; several: of the end and the last four stages; auto: "
        "last of pictures; on the sky scales of the bundled networks, several of others",
    )

    def chosen(self, views: str) -> BackboneConfig:
        """Return it with layers that are not ``auto``, for images on the ``sky`` or for a ``picture``."""
        if self.layers != "auto":
            return self
        on_sky: Literal["scales", "several"] = "scales" if self.weights == "bundled" else "several"
        return dataclasses.replace(self, layers=on_sky if views == "sky" else "last")

    def layers_of(self, views: str) -> str:
        """Return the layers of frozen features; ``auto``, kept by earlier versions, is ``several`` on the sky."""
        return ("several" if views == "sky" else "last") if self.layers == "auto" else self.layers


@dataclasses.dataclass(frozen=True)
class SessionConfig:
    """Settings of the session as a whole."""

    seed: int = option(0, "seed of everything random")
    device: str = option("auto", "torch device: auto, cpu, cuda, cuda:1 ...")
    engine: Literal["auto", "torch", "openvino", "torch-compiled", "torch-bf16", "torch-fp16", "openvino-bf16"] = (
        option(
            "auto", "what computes features and scores of networks; auto: OpenVINO on the CPU if installed, else torch"
        )
    )
    instant_ranker: str = option(
        "active-search", "ranker on frozen features that the app fits again after every verdict"
    )
    cold_start_ranker: str = option("cold", "ranker without labels that the app begins with")

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"session.seed={self.seed}: expected 0 or more")


# ---------------------------------------------------------------------------------------------------------- archives


@dataclasses.dataclass(frozen=True)
class FetchConfig:
    """Requests to archives: limits, retries, cache of files. Not part of a request: caches do not depend on it."""

    requests: int = option(4, "parallel requests to one host, over all processes of this computer")
    pause_s: float = option(0.0, "least seconds between the starts of two requests to one host", flag="pause")
    timeout_s: float = option(
        60.0, "longest wait in seconds for a connection, for the first byte and for the next one", flag="timeout"
    )
    attempts: int = option(5, "tries of a request that may succeed later: time-outs, broken connections, 429, 5xx")
    first_wait_s: float = option(
        1.0, "seconds before the second try, give or take half of it; doubles each time", flag="first-wait"
    )
    longest_wait_s: float = option(
        60.0, "most seconds between two tries, even if the service asks for more", flag="longest-wait"
    )
    keep: str = option("", "folder for what was fetched; empty: ~/.cache/astroanomaly/fetched", metavar="DIR")
    keep_gb: float = option(20.0, "gigabytes that folder may hold; what was not used for longest goes first")
    refresh: bool = option(False, "fetch anew what is kept")
    record: str = option(
        "", "write what is asked and answered, without secrets, to a new folder, to report a fault", metavar="FOLDER"
    )
    record_mb: float = option(64.0, "largest answer in megabytes that --record keeps whole")
    replay: str = option("", "take all answers from such a folder; nothing is asked of the network", metavar="FOLDER")

    def __post_init__(self) -> None:
        for name in ("requests", "attempts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"fetch.{name}={getattr(self, name)}: expected 1 or more")
        for name in ("pause_s", "first_wait_s", "longest_wait_s", "keep_gb", "record_mb"):
            if getattr(self, name) < 0:
                raise ConfigError(f"fetch.{name}={getattr(self, name)}: expected 0 or more")
        if self.timeout_s <= 0:
            raise ConfigError(f"fetch.timeout_s={self.timeout_s}: expected more than 0 seconds")


# ---------------------------------------------------------------------------------------------- reading and checking


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known word, or an empty string."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def option_types(cls: type) -> dict[str, Any]:
    """Resolve the type of every field of an options dataclass."""
    hints = typing.get_type_hints(cls)
    return {item.name: hints[item.name] for item in dataclasses.fields(cls)}


def former_names(cls: type) -> dict[str, str]:
    """Return the present name of every name that a field of an options dataclass had in earlier versions."""
    return {old: item.name for item in dataclasses.fields(cls) for old in item.metadata.get("formerly", ())}


def current_names(cls: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that an earlier version may have stored as they are stored now.

    Fields have their present names, and those that came later have their defaults.
    """
    current = {
        item.name: _as_plain(item.default)
        for item in dataclasses.fields(cls)
        if item.default is not dataclasses.MISSING and item.default is not None
    }
    renamed = former_names(cls)
    for name, value in stored.items():
        current[renamed[name] if _is_former(cls, name, value) else name] = value
    return current


def _is_former(cls: type, name: str, value: Any) -> bool:
    """Whether a name is meant as an earlier version had it: another field has it today, and the value does not fit."""
    if name not in former_names(cls):
        return False
    known = option_types(cls)
    if name not in known:
        return True
    try:
        check_value(known[name], value, name)
    except ConfigError:
        return True
    return False


def unknown_setting(cls: type, key: str, where: str) -> ConfigError:
    """Make the error for a key that is no field: its new name, else the nearest."""
    renamed = former_names(cls)
    if key in renamed:
        return ConfigError(f"the setting {where}{key} is called {where}{renamed[key]} now")
    known = option_types(cls)
    return ConfigError(f"unknown setting {where}{key}{nearest(key, known)} (known: {', '.join(known)})")


def build(cls: type[T], values: Mapping[str, Any], section: str = "") -> T:
    """Make an options dataclass from plain values, checking names and types.

    Raises
    ------
    ConfigError
        For an unknown key (with the nearest valid one), a missing one, or a value of the wrong kind.
    """
    known = option_types(cls)
    converters = {item.name: item.metadata.get("convert") for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    where = f"{section}." if section else ""
    checked = {}
    for key, value in values.items():
        convert = converters.get(key)
        if convert is not None and not _is_former(cls, key, value):
            value = convert(value, f"{where}{key}")
        if key not in known or _is_former(cls, key, value):
            raise unknown_setting(cls, key, where)
        checked[key] = check_value(known[key], value, f"{where}{key}")
    missing = [
        item.name
        for item in dataclasses.fields(cls)  # type: ignore[arg-type]
        if item.name not in checked
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"setting {where}{missing[0]} must be given")
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        choices = item.metadata.get("choices", ())
        if choices and item.name in checked and checked[item.name] not in choices:
            raise ConfigError(
                f"{where}{item.name}={checked[item.name]!r}: expected one of {', '.join(choices)}"
                f"{nearest(str(checked[item.name]), choices)}"
            )
    return cls(**checked)


def check_value(kind: Any, value: Any, name: str) -> Any:
    """Bring a TOML or JSON value to the declared type, or say what was expected."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        first, *others = (arg for arg in args if arg is not type(None))
        if any(isinstance(other, type) and isinstance(value, other) for other in others):
            return value
        return check_value(first, value, name)
    if origin is Literal:
        if value not in args:
            raise ConfigError(
                f"{name}={value!r}: expected one of {', '.join(map(str, args))}{nearest(str(value), map(str, args))}"
            )
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) != 1:
            raise ConfigError(f"{name}={_shown(value)}: expected a list")
        return tuple(check_value(args[0], item, name) for item in value)
    if kind in (int, float) and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = kind(value)  # of NumPy too
    elif kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = float(value)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name}={value!r}: expected a finite number")
    if (kind is Path and isinstance(value, str)) or (kind is str and isinstance(value, Path)):
        return kind(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{name}={_shown(value)}: expected {_describe(kind)}")
    return value


def _shown(value: Any) -> str:
    """Show a value in a message: its kind alone where it is a large object."""
    text = repr(value) if isinstance(value, str | bytes | int | float | list | tuple | dict | Path | None) else ""
    return text if 0 < len(text) <= _SHOWN_LETTERS else f"<{type(value).__name__}>"


def _describe(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def replace_many(base: T, values: Mapping[str, Any], section: str = "") -> T:
    """Return a copy of an options dataclass with some values replaced and checked."""
    return build(type(base), {**to_plain(base), **values}, section)


def to_plain(options: Any) -> dict[str, Any]:
    """Turn an options dataclass into TOML and JSON values; None is left out."""
    plain: dict[str, Any] = {}
    for item in dataclasses.fields(options):
        value = getattr(options, item.name)
        if value is not None:
            plain[item.name] = _as_plain(value)
    return plain


def _as_plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | int | float | list | dict | None) else str(value)
