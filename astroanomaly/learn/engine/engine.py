"""Inference engine: runs networks on torch, or on a processor on OpenVINO where the extra ``fast`` is installed."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from astroanomaly.errors import ConfigError
from astroanomaly.learn.engine.device import free_memory, pick_devices
from astroanomaly.learn.engine.folding import folded
from astroanomaly.learn.engine.openvino import RefusedError, in_openvino, short
from astroanomaly.learn.engine.precision import agree, rounded_to
from astroanomaly.learn.engine.transfer import Transfer

__all__ = ["Engine", "batch_within", "filled_up", "make_engines"]

WORTH = 1000  # images: with fewer, making a network ready (a second or two) costs more than it saves
WORTH_COMPILING = 2_000_000  # on an H100 compiling took 6 to 17 s and saved 10 to 15 s a million images
_CPU_BATCH_SIZE = 64
_MAX_GPU_BATCH_SIZE = 1024  # more gain nothing
_GPU_MEMORY_SHARE = 0.5  # of what is free that a pass may take
_TRIAL_IMAGES = 8  # of the pass that measures it
_COMPARED_IMAGES = 4  # of which a network has to give what torch gives before it is used
_log = logging.getLogger(__name__)


def make_engines(name: str, device_name: str) -> list[Engine]:
    """Return one engine for each device that is to be used.

    Parameters
    ----------
    name
        ``auto``, ``torch``, ``openvino``, ``torch-compiled``, ``torch-bf16``, ``torch-fp16`` or ``openvino-bf16``.
    device_name
        As in `astroanomaly.learn.engine.device.pick_device`; ``auto`` is all GPUs where there are any.

    Raises
    ------
    ConfigError
        If the engine is not installed or cannot use the device, or there is no such device.
    """
    return [Engine(name, device) for device in pick_devices(device_name)]


class Engine:
    """Runs networks on one device, and keeps what it has made ready for them.

    Parameters
    ----------
    name
        ``torch``; ``openvino``; or ``auto``: OpenVINO on the processor if it is installed, for networks that it can run
        and at least 1,000 images (`expect`), else torch. ``torch-bf16`` and ``openvino-bf16`` compute in bfloat16,
        ``torch-fp16`` in float16, on a GPU only. ``torch-compiled`` compiles the network with `torch.compile`, which
        needs a compiler and takes half a minute; on a GPU torch does so by itself for at least 2,000,000 images.
    device
        The device.

    Raises
    ------
    ConfigError
        If OpenVINO is asked for by name and is not installed, or the device is not the processor; or float16 elsewhere
        than on a CUDA GPU.
    """

    def __init__(self, name: str = "torch", device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.rounded = rounded_to(name)
        self._compiles = name == "torch-compiled"
        self._named = name.startswith("openvino")
        installed = importlib.util.find_spec("openvino") is not None
        if self._named and not installed:
            raise ConfigError(
                f"session.engine={name} needs a package more:\n  pip install 'astroanomaly[fast]'\n"
                "or set session.engine=torch"
            )
        if self._named and self.device.type != "cpu":
            raise ConfigError(
                f"session.engine={name} runs on the processor, but the device is {self.device}: set session.device=cpu "
                "or session.engine=auto"
            )
        if self.rounded == "float16" and self.device.type != "cuda":
            raise ConfigError(
                f"session.engine={name} runs on CUDA GPUs only, but the device is {self.device}: set "
                "session.engine=torch-bf16 or auto"
            )
        self._openvino = self._named or (name == "auto" and installed and self.device.type == "cpu")
        self._expected = 0
        self._precision = self.rounded or "float32"
        self._can_compile, self._compiled = True, False  # whether images have passed a compiled network
        self._usual = 0  # images of a whole batch, where that was measured
        self.measuring = False  # whether a pass only shows how much memory it needs
        self._runs: dict[tuple[int, str], tuple[nn.Module, _Run]] = {}
        self._copies: dict[int, tuple[nn.Module, nn.Module]] = {}

    @property
    def label(self) -> str:
        """What it runs on, with version, precision and kind of device: what is kept with scores."""
        if self.uses_openvino:
            return f"OpenVINO {importlib.import_module('openvino').__version__.split('-')[0]}, {self._precision}, cpu"
        how = "torch compiled" if self._compiled else "torch"
        precision = "float32 with TF32 convolutions" if self._has_short_factors else self._precision
        return f"{how} {torch.__version__.split('+')[0]}, {precision}, {self.device.type}"

    @property
    def _has_short_factors(self) -> bool:
        if self.device.type != "cuda" or self.rounded or not torch.backends.cudnn.allow_tf32:
            return False
        return torch.cuda.get_device_capability(self.device) >= (8, 0)

    @cached_property
    def transfer(self) -> Transfer:
        """What brings cutouts to the device, and results back."""
        return Transfer(self.device)

    @property
    def uses_openvino(self) -> bool:
        """Whether the next images pass OpenVINO."""
        return self._openvino and (self._named or self._expected >= WORTH)

    @property
    def compiles(self) -> bool:
        """Whether the next images pass a compiled network."""
        worth = self.device.type == "cuda" and self._expected >= WORTH_COMPILING
        return self._can_compile and (self._compiles or worth) and not self.measuring

    def expect(self, images: int) -> None:
        """Say how many more images are to come."""
        self._expected += images

    def place(self, model: nn.Module, *, own: bool = False) -> nn.Module:
        """Bring a network to the device in evaluation mode; ``own`` copies it, the same copy at every call."""
        if own:
            if id(model) not in self._copies:
                self._copies[id(model)] = model, copy.deepcopy(model)
            model = self._copies[id(model)][1]
        return model.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def run(self, model: nn.Module, method: str = "forward") -> Callable[[Tensor], Tensor]:
        """Return what stands for a network, or for another method of it, from now on.

        Parameters
        ----------
        model
            The network, on the device, in evaluation mode. Its weights are taken over at the first images: it must not
            change afterwards.
        method
            Maps images ``(n, C, S, S)`` float32, channels last in memory, to ``(n, D)``.

        Returns
        -------
        callable
            Maps the same to ``(n, D)`` float32; made ready for one image size, any n.
        """
        key = id(model), method
        if key not in self._runs:
            self._runs[key] = model, _Run(self, model, method)  # the model is kept, or its id might be given again
        return self._runs[key][1]

    def batch_size(self, run: Callable[[Tensor], Tensor], size: int) -> int:
        """How many images of ``size`` pixels should pass together: 64 on the processor, on a GPU what fits."""
        if self.device.type != "cuda":
            self._usual = _CPU_BATCH_SIZE
            return self._usual
        images = torch.zeros(_TRIAL_IMAGES, 3, size, size, device=self.device).contiguous(
            memory_format=torch.channels_last
        )
        self.measuring = True
        try:
            with torch.inference_mode():
                run(images)  # what comes with the first pass, as the weights, is no part of it
                torch.cuda.reset_peak_memory_stats(self.device)
                before = torch.cuda.memory_allocated(self.device)
                run(images)
        finally:
            self.measuring = False
        needed = torch.cuda.max_memory_allocated(self.device) - before
        self._usual = batch_within(free_memory(self.device), needed / _TRIAL_IMAGES)
        return self._usual

    def give_up(self, why: RefusedError) -> None:
        """Go on with torch where OpenVINO cannot run a network, or say so where it was asked for by name."""
        if self._named:
            raise ConfigError(
                f"session.engine: OpenVINO cannot run this network ({why}); set session.engine=auto or torch"
            ) from why
        _log.warning("OpenVINO cannot run this network (%s): it runs on torch", why)
        self._openvino = False

    def give_up_rounding(self, found: Tensor, wanted: Tensor) -> None:
        """Say so where a network cannot compute with so few bits; nothing where it is not asked to."""
        if self.rounded and not agree(found, wanted, self.rounded):
            raise ConfigError(
                f"session.engine: in {self.rounded} this network says something else; set session.engine=auto or torch"
            )

    def give_up_compiling(self, why: RuntimeError) -> None:
        """Go on without, or say so where it was asked for by name."""
        reason = f"torch cannot compile this network here ({short(why)})"
        if self._compiles:
            raise ConfigError(f"session.engine: {reason}; set session.engine=auto or torch") from why
        _log.warning("%s: it runs as it is", reason)
        self._can_compile = False

    def is_whole(self, images: int) -> bool:
        """Whether so many images are a whole batch: it is for these that a network is compiled."""
        return images == (self._usual or images)

    def has_compiled(self) -> None:
        """Note that images have passed a compiled network."""
        self._compiled = True

    def found_precision(self, precision: str) -> None:
        """Note what a processor without bfloat16 makes of it."""
        self._precision = precision


def batch_within(free: float, each: float) -> int:
    """How many images of ``each`` bytes pass together in half of ``free`` bytes: a power of two, see `filled_up`."""
    fitting = int(min(_MAX_GPU_BATCH_SIZE, _GPU_MEMORY_SHARE * free / max(each, 1.0)))
    return 1 << max(0, fitting.bit_length() - 1)


def filled_up(images: Tensor) -> Tensor:
    """Add black images up to a power of two.

    For every new number of images a GPU's library looks for a way to convolve, which took an H100 about a second for
    EfficientNet-Lite0; shards end with any number.
    """
    wanted = 1 << (len(images) - 1).bit_length()
    if wanted == len(images):
        return images
    more = images.new_zeros(wanted - len(images), *images.shape[1:])
    return torch.cat([images, more.contiguous(memory_format=torch.channels_last)])


class _Run:
    """A network, or a method of it, on an engine."""

    def __init__(self, engine: Engine, model: nn.Module, method: str) -> None:
        self._engine, self._network = engine, _Method(model, method).eval()
        self._ready: Callable[[Tensor], Tensor] | None = None
        self._quick: nn.Module | None = None  # what torch runs
        self._compiled: tuple[int, Callable[[Tensor], Tensor]] | None = None  # for so many images at once

    def __call__(self, images: Tensor) -> Tensor:
        if self._engine.uses_openvino:
            try:
                if self._ready is None:
                    self._ready, precision = in_openvino(self._network, images, self._engine.rounded)
                    self._engine.found_precision(precision)
                return self._ready(images)
            except RefusedError as why:
                self._engine.give_up(why)
        given = filled_up(images) if self._engine.device.type == "cuda" else images
        with self._cast():
            return self._on_torch(given)[: len(images)].float()

    def _on_torch(self, images: Tensor) -> Tensor:
        """Pass the network, or its compiled form where there are as many images as in a whole batch."""
        quick = self._eager(images)
        if self._engine.compiles and self._compiled is None and self._engine.is_whole(len(images)):
            self._compiled = len(images), torch.compile(self._network, dynamic=False)
            try:
                found = self._compiled[1](images)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as why:  # what is missing or too old on this machine shows at the first call
                self._engine.give_up_compiling(why)
                self._compiled = None
                return quick(images)
            self._engine.has_compiled()
            return found
        if self._compiled is not None and len(images) == self._compiled[0]:
            return self._compiled[1](images)
        return quick(images)

    def _eager(self, images: Tensor) -> nn.Module:
        """Return the network; on the processor, where that is a fifth faster, with folded normalisations."""
        if self._engine.measuring:
            return self._network
        if self._quick is None:
            made: nn.Module = self._network
            first = images[:_COMPARED_IMAGES]
            if self._engine.device.type == "cpu":
                made = folded(self._network)
            if made is not self._network or self._engine.rounded:
                with torch.autocast(self._engine.device.type, enabled=False):
                    wanted = self._network(first).float()
                if not agree(made(first).float(), wanted, self._engine.rounded):
                    self._engine.give_up_rounding(self._network(first).float(), wanted)
                    made = self._network
            self._quick = made
        return self._quick

    def _cast(self) -> contextlib.AbstractContextManager[Any]:
        if not self._engine.rounded:
            return contextlib.nullcontext()
        return torch.autocast(self._engine.device.type, getattr(torch, self._engine.rounded))


class _Method(nn.Module):
    """A method of a network as a network."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images) if self.method == "forward" else getattr(self.model, self.method)(images)
