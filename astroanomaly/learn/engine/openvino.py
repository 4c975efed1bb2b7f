"""A network in OpenVINO's form, which the processor computes faster than torch does."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import itertools
import logging
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from astroanomaly._version import __version__
from astroanomaly.learn.engine.compiled_files import read_compiled, write_compiled
from astroanomaly.learn.engine.precision import agree

__all__ = ["RefusedError", "in_openvino", "short"]

_COMPARED_IMAGES = 4  # of which it has to give what torch gives
_OF_TORCH = frozenset(vars(nn.Module()))  # attributes that every module has
_log = logging.getLogger(__name__)
_MAX_ERROR_CHARACTERS = 200  # last characters of what an error says


class RefusedError(Exception):
    """OpenVINO cannot run a network as torch does."""


def in_openvino(network: nn.Module, images: Tensor, rounded: str) -> tuple[Callable[[Tensor], Tensor], str]:
    """Make a network ready for images like those given; return what runs it, and its precision.

    Converting and compiling take one to two seconds, so the result is kept for the next process (`compiled_files`).

    Raises
    ------
    RefusedError
        If it cannot be converted, or makes something else of the first images than torch does.
    """
    import openvino

    core = openvino.Core()
    wanted_of_it = {
        "INFERENCE_PRECISION_HINT": "bf16" if rounded else "f32",  # its own choice is bf16 on some processors
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # two processes would share one core and leave the others idle
    }
    made_with = [openvino.__version__, core.get_property("CPU", "FULL_DEVICE_NAME"), wanted_of_it]
    try:
        key = _key(network, images, made_with)
    except Exception as error:  # noqa: BLE001 - code without source, sparse buffers: a stranger's network may be anything
        _log.debug("a compiled network is not kept: %s", short(error))
        key = ""
    kept = read_compiled(key) if key else None
    if kept is not None:
        try:
            return _compared(core.import_model(kept, "CPU", wanted_of_it), network, images, rounded)
        except (RuntimeError, RefusedError) as error:
            _log.debug("a compiled network is made anew: %s", error)
    try:
        compiled = core.compile_model(_with_layout(_converted(network, images)), "CPU", wanted_of_it)
    except Exception as error:  # tracing and conversion have errors of a dozen kinds, not all of them RuntimeError
        raise RefusedError(short(error)) from error
    ready = _compared(compiled, network, images, rounded)
    with contextlib.suppress(RuntimeError):  # a version that cannot write out this network
        if key:
            write_compiled(key, compiled.export_model().getvalue())
    return ready


def _key(network: nn.Module, images: Tensor, rest: list[Any]) -> str:
    """Name a network: its form, code and weights, the size of its images, and the versions of what compiles it.

    Raises
    ------
    OSError, TypeError
        If the source of its code cannot be found, or something beside its weights has no name.
    RuntimeError
        If weights are no plain arrays.
    """
    parts: list[Any] = [__version__, torch.__version__, repr(network), list(images.shape[1:]), rest]
    codes: dict[type, str] = {}
    for name, module in network.named_modules():
        kind = type(module)
        if kind not in codes:
            codes[kind] = _code(kind)
        if module._forward_hooks or module._forward_pre_hooks:
            raise TypeError("hooks of a network have no name")
        attributes = {key: _named(value) for key, value in vars(module).items() if key not in _OF_TORCH}
        parts += [name, _qualified(kind), codes[kind], attributes]
    found = hashlib.sha256(repr(parts).encode())
    for name, values in itertools.chain(network.named_parameters(), network.named_buffers()):
        found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        found.update(values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _code(kind: type) -> str:
    """Return the source of a class and of those it derives from, but for torch's own."""
    of_torch = ("torch.", "builtins")
    return "".join(inspect.getsource(one) for one in kind.__mro__ if not f"{one.__module__}.".startswith(of_torch))


def _named(value: Any) -> str:
    """Return what tells an attribute of a module from another.

    Raises
    ------
    TypeError
        If it is no plain value and no function.
    """
    if value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.device):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(map(_named, value))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{_named(key)}: {_named(one)}' for key, one in value.items())})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{_qualified(type(value))} {_named(vars(value))}"
    if isinstance(value, functools.partial):
        return f"partial({_named(value.func)}, {_named(value.args)}, {_named(value.keywords)})"
    if isinstance(value, type | types.BuiltinFunctionType):
        return _qualified(value)
    if isinstance(value, types.FunctionType):
        inner = [cell.cell_contents for cell in value.__closure__ or ()]
        return f"{_qualified(value)} {inspect.getsource(value)} {_named(inner)}"
    raise TypeError(f"{type(value).__name__} of a network has no name that tells it from another")


def _qualified(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _with_layout(model: Any) -> Any:
    """Let a model of OpenVINO take images as they lie in memory: no copy."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    steps.input().tensor().set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def _compared(
    compiled: Any, network: nn.Module, images: Tensor, rounded: str
) -> tuple[Callable[[Tensor], Tensor], str]:
    """Compare a compiled network with torch on the first images; return what runs it, and its precision."""

    def run(seen: Tensor) -> Tensor:
        given = seen.permute(0, 2, 3, 1).contiguous().numpy()  # (n, S, S, C)
        return torch.from_numpy(compiled(given, share_inputs=True)[0])  # (n, D)

    first = images[:_COMPARED_IMAGES]
    with torch.inference_mode():
        wanted = network(first).float()
    found = run(first)
    if not agree(found, wanted, rounded):
        apart = float((found - wanted).abs().max()) if found.shape == wanted.shape else float("nan")
        raise RefusedError(f"its answers differ from those of torch by {apart:.3g} of {float(wanted.abs().max()):.3g}")
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return run, "bfloat16" if precision == "bf16" else "float32"


def short(error: Exception) -> str:
    """Last line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[-1][-_MAX_ERROR_CHARACTERS:] if lines else type(error).__name__


def _converted(network: nn.Module, images: Tensor) -> Any:
    """Turn a network into OpenVINO's form, for images of this size, any number at a time.

    ``openvino.convert_model`` does the same, but reports each call to its makers over the network, which takes seconds.
    """
    import warnings

    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(2, *images.shape[1:]).contiguous(memory_format=torch.channels_last)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch says that tracing is old; the new way takes ten times as long
        traced = torch.jit.trace(network, example, check_trace=False)  # compared below, on real images
    decoder = TorchScriptPythonDecoder(traced)  # has to live until the end of the conversion
    front = FrontEndManager().load_by_framework("pytorch")
    model = front.convert(front.load(decoder))
    model.reshape([-1, *images.shape[1:]])
    return model
