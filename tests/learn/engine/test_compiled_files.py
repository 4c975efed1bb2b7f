"""Compiled networks on disk: used where they fit, made anew where they do not, bounded."""

import importlib.util
import os

import pytest
import torch
from torch import nn

from astroanomaly.learn.engine import compiled_files
from astroanomaly.learn.engine.compiled_files import FOLDER_VARIABLE, read_compiled, write_compiled

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed: pip install 'astroanomaly[fast]'"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "networks"))
    return tmp_path / "networks"


def network(seed=0):
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers).eval().to(memory_format=torch.channels_last)


def images(size=16):
    made = torch.rand(5, 3, size, size, generator=torch.Generator().manual_seed(1))
    return made.contiguous(memory_format=torch.channels_last)


@needs_openvino
def test_the_second_time_nothing_is_compiled(folder, monkeypatch):
    from astroanomaly.learn.engine import openvino

    run, precision = openvino.in_openvino(network(), images(), "")
    first = run(images())
    assert len(list(folder.glob("*.blob"))) == 1
    assert folder.stat().st_mode & 0o077 == 0

    def convert(*_):
        raise AssertionError("it is kept")

    with monkeypatch.context() as patched:
        patched.setattr(openvino, "_converted", convert)
        run, again = openvino.in_openvino(network(), images(), "")
    assert again == precision
    assert torch.equal(run(images()), first)
    assert torch.allclose(first, network()(images()), atol=1e-5)


@needs_openvino
def test_other_weights_sizes_and_precisions_have_files_of_their_own(folder):
    from astroanomaly.learn.engine.openvino import in_openvino

    for model, seen, rounded in (
        (network(), images(), ""),
        (network(1), images(), ""),
        (network(), images(24), ""),
        (network(), images(), "bfloat16"),
    ):
        run, _ = in_openvino(model, seen, rounded)
        assert torch.allclose(run(seen), model(seen), atol=0.02 if rounded else 1e-5)
    assert len(list(folder.glob("*.blob"))) == 4


@needs_openvino
@pytest.mark.parametrize("damage", ["flip", "cut", "other", "empty"])
def test_a_damaged_file_is_made_anew(folder, damage):
    from astroanomaly.learn.engine.openvino import in_openvino

    in_openvino(network(), images(), "")
    (path,) = folder.glob("*.blob")
    whole = path.read_bytes()
    bad = {
        "flip": whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        "cut": whole[: len(whole) // 2],
        "other": b"no network at all",
        "empty": b"",
    }[damage]
    path.write_bytes(bad)
    run, _ = in_openvino(network(), images(), "")
    assert torch.allclose(run(images()), network()(images()), atol=1e-5)
    assert read_compiled(path.stem) is not None


@needs_openvino
def test_what_says_something_else_is_made_anew(folder):
    from astroanomaly.learn.engine.openvino import in_openvino

    in_openvino(network(), images(), "")
    in_openvino(network(1), images(), "")
    one, two = sorted(folder.glob("*.blob"))
    one.write_bytes(two.read_bytes())  # whole, with its digest, but of other weights
    for seed in (0, 1):
        run, _ = in_openvino(network(seed), images(), "")
        assert torch.allclose(run(images()), network(seed)(images()), atol=1e-5)


def test_the_oldest_go_where_there_are_too_many(folder, monkeypatch):
    monkeypatch.setattr(compiled_files, "_MOST_BYTES", 1200)
    for number in range(3):
        write_compiled(str(number), bytes(300))
        os.utime(folder / f"{number}.blob", (number, number))
    assert read_compiled("0") == bytes(300)  # used: not the oldest any more
    write_compiled("3", bytes(300))
    assert {path.stem for path in folder.glob("*.blob")} == {"0", "2", "3"}
    write_compiled("4", bytes(2000))
    assert read_compiled("4") is None


@pytest.mark.parametrize("how", ["off", "writable", "file", "full"])
def test_a_folder_that_is_not_ours_alone_is_not_used(folder, monkeypatch, how):
    write_compiled("a", b"content")
    assert read_compiled("a") == b"content"
    if how == "off":
        monkeypatch.setenv(FOLDER_VARIABLE, "off")
    elif how == "writable":
        folder.chmod(0o777)
    elif how == "file":
        monkeypatch.setenv(FOLDER_VARIABLE, str(folder / "a.blob"))
    elif how == "full":
        monkeypatch.setattr(compiled_files, "append_digest", lambda path: (_ for _ in ()).throw(OSError(28, "full")))
    write_compiled("b", b"content")
    assert {path.name for path in folder.iterdir()} == {"a.blob"}
    assert (read_compiled("a") is None) == (how != "full")
    assert read_compiled("b") is None


@pytest.mark.parametrize("how", ["home", "chosen"])
def test_without_a_home_nothing_is_kept(monkeypatch, how):
    def homeless(*_):
        raise RuntimeError("Could not determine home directory.")

    for name in ("home", "expanduser"):
        monkeypatch.setattr(compiled_files.Path, name, homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(FOLDER_VARIABLE, "~/networks" if how == "chosen" else "")
    write_compiled("a", b"content")
    assert read_compiled("a") is None


class Curve(nn.Module):
    """A network whose code, not its weights, says what it computes."""

    def __init__(self, act):
        super().__init__()
        self.act, self.layer = act, nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())

    def forward(self, images):
        return self.act(self.layer(images))


def curve(act, kind=Curve):
    torch.manual_seed(0)
    return kind(act).eval().to(memory_format=torch.channels_last)


@needs_openvino
def test_other_code_has_a_file_of_its_own(folder):
    from astroanomaly.learn.engine.openvino import in_openvino

    def scaled(factor):
        return lambda x: factor * x

    acts = [torch.relu, torch.tanh, nn.functional.relu6, scaled(2.0), scaled(3.0)]
    for _ in range(2):
        for act in acts:
            run, _ = in_openvino(curve(act), images(), "")
            assert torch.allclose(run(images()), curve(act)(images()), atol=1e-5)
        assert len(list(folder.glob("*.blob"))) == len(acts)


@needs_openvino
def test_what_has_no_name_runs_and_is_not_kept(folder):
    from astroanomaly.learn.engine.openvino import in_openvino

    made = {"__module__": __name__, "forward": lambda self, images: -Curve.forward(self, images)}
    sparse, hooked, untold = curve(torch.relu), curve(torch.relu), curve(torch.relu)
    sparse.register_buffer("unused", torch.eye(3).to_sparse())
    hooked.register_forward_hook(lambda module, given, found: found + 1)
    untold.unused = {1, 2}
    for model in (sparse, hooked, untold, curve(torch.relu, type("Sourceless", (Curve,), made))):
        run, _ = in_openvino(model, images(), "")
        assert torch.allclose(run(images()), model(images()), atol=1e-5)
        assert not list(folder.glob("*.blob"))
