"""Weights of other projects from a local file, networks made for one size, and blocks that keep their weights."""

import copy

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from timm.layers import resample_abs_pos_embed

from astroanomaly import Session
from astroanomaly.config import BackboneConfig
from astroanomaly.errors import CheckpointError, ConfigError
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.network.weights import read_weights
from astroanomaly.learn.training.fixmatch import StepBatch, set_training, train_step
from astroanomaly.learn.training.options import FixMatchOptions
from astroanomaly.learn.training.trainer import fit_micro_batch

NETWORKS = ("test_efficientnet", "test_convnext", "test_vit", "test_resnet")


def scrambled(name, **options):
    """A timm network none of whose tensors is zero or one."""
    torch.manual_seed(3)
    network = timm.create_model(name, num_classes=0, **options).eval()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.02 * torch.rand(tensor.shape))
    return network


def images(size, count=2):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def agree(backbone, network, size):
    with torch.no_grad():
        found = backbone.eval().features(images(size))
        expected = network((images(size) - backbone.mean) / backbone.std)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------------------------------------------- DINOv2


def published_dinov2(network):
    """The names and shapes that the files of DINOv2 have: a mask token, positions that include the class token's."""
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["mask_token"] = torch.zeros(1, network.embed_dim)
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
        place = torch.full((1, 1, network.embed_dim), 0.3)
        state["cls_token"] -= place
        state["pos_embed"] = torch.cat([place, state["pos_embed"]], dim=1)
    return state


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_dinov2_as_it_is_published(tmp_path, name):
    original = scrambled(name, img_size=56)
    torch.save(published_dinov2(original), tmp_path / "dinov2.pth")
    config = BackboneConfig(name, str(tmp_path / "dinov2.pth"))
    agree(build_backbone(config, size=56), original, 56)

    larger = build_backbone(config, size=84)
    prefix = 0 if "reg4" in name else 1
    expected = resample_abs_pos_embed(original.pos_embed, [6, 6], [4, 4], num_prefix_tokens=prefix)
    torch.testing.assert_close(larger.network.pos_embed, expected)
    assert larger.eval().features(images(84)).shape == (2, 384)


def test_a_vision_transformer_at_another_size(tmp_path):
    original = scrambled("vit_tiny_patch16_224")
    safetensors.torch.save_file(original.state_dict(), tmp_path / "vit.safetensors")
    config = BackboneConfig("vit_tiny_patch16_224", str(tmp_path / "vit.safetensors"))
    agree(build_backbone(config, size=224), original, 224)
    small = build_backbone(config, 2, size=64)
    assert small.network.pos_embed.shape == (1, 17, 192)
    assert small(images(64)).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [
        ("vit_small_patch14_dinov2", 128, 126),  # the patch, 14 px
        ("vit_tiny_patch16_224", 100, 96),
        ("coatnet_0_rw_224", 100, 96),  # its stages halve the side five times
        ("efficientformer_l1", 64, 224),  # takes no other
        ("convnext_nano", 100, 0),  # takes any
    ],
)
def test_images_are_resized_where_a_network_takes_them_in_no_other_way(name, size, side):
    network = build_backbone(BackboneConfig(name, "random"), size=size).eval()
    assert network.side == side
    with torch.no_grad():
        flat = network.features(torch.full((1, 3, size, size), 0.4))
        same = network.network((torch.full((1, 3, side or size, side or size), 0.4) - network.mean) / network.std)
    torch.testing.assert_close(flat, same, rtol=1e-3, atol=1e-4)


def test_a_transformer_in_a_whole_session(sky, tmp_path):
    settings = {
        "input": {"size": 40},
        "backbone": {"name": "test_vit", "weights": "random"},
        "train": {"iterations": 2, "labelled_batch": 4, "pool": 20, "frozen_blocks": 1},
    }
    session = Session.create(tmp_path / "s", sky[1], settings=settings)
    ids = list(session.cache.ids)
    session.label(ids[:3], "anomaly")
    session.label(ids[3:9], "nominal")
    for ranker in ("probe", "fixmatch"):
        session.train(ranker)
        assert np.isfinite(session.scores()[1]).all()
        assert session.saliency(ids[0]).shape == (48, 48)
    np.testing.assert_allclose(Session.open(session.path).saliency(ids[0]), session.saliency(ids[0]), atol=1e-5)


# -------------------------------------------------------------------------------------------------------------- Zoobot


@pytest.mark.parametrize("kind", ["lightning", "prefixed", "plain"])
def test_zoobot_as_it_is_published(tmp_path, kind):
    original = scrambled("convnext_nano")
    state = original.state_dict()
    named = {f"encoder.{name}": tensor for name, tensor in state.items()}
    if kind == "lightning":
        path = tmp_path / "zoobot.ckpt"
        head = {"head.1.weight": torch.ones(3, 640), "head.1.bias": torch.ones(3)}
        more = {"epoch": 3, "hyper_parameters": {"lr": 1e-4, "encoder_dim": 640}, "optimizer_states": [{"state": {}}]}
        torch.save({**more, "state_dict": {**named, **head}}, path)
    elif kind == "prefixed":
        path = tmp_path / "zoobot.safetensors"
        safetensors.torch.save_file(named, path)
    else:
        path = tmp_path / "pytorch_model.bin"
        torch.save(state, path)
    backbone = build_backbone(BackboneConfig("convnext_nano", str(path)), 2, size=64)
    agree(backbone, original, 64)
    assert backbone(images(64)).shape == (2, 2)


def test_what_is_refused(tmp_path):
    state = scrambled("test_efficientnet").state_dict()
    both = {f"{who}.{name}": tensor for who in ("student", "teacher") for name, tensor in state.items()}
    torch.save(both, tmp_path / "both.pth")
    with pytest.raises(CheckpointError, match=r"twice, under 'student\.' and 'teacher\.'"):
        build_backbone(BackboneConfig("test_efficientnet", str(tmp_path / "both.pth")))
    for name in ("convnext_nano", "vit_small_patch14_dinov2", "swin_tiny_patch4_window7_224", "test_efficientnet"):
        torch.save(scrambled("resnet18").state_dict(), tmp_path / "resnet.pth")
        with pytest.raises(CheckpointError, match="belongs to another network"):
            build_backbone(BackboneConfig(name, str(tmp_path / "resnet.pth")), size=64)
    state.pop("conv_stem.weight")
    torch.save({"state_dict": {f"encoder.{name}": t for name, t in state.items()}}, tmp_path / "part.ckpt")
    with pytest.raises(CheckpointError, match=r"1 tensors are missing \(first: conv_stem\.weight\)"):
        build_backbone(BackboneConfig("test_efficientnet", str(tmp_path / "part.ckpt")))
    torch.save({"state_dict": state, "hyper_parameters": FixMatchOptions()}, tmp_path / "code.ckpt")
    with pytest.raises(
        CheckpointError,
        match=r"an object of astroanomaly\.learn\.training\.options\.FixMatchOptions; if you trust",
    ):
        read_weights(tmp_path / "code.ckpt")


# ------------------------------------------------------------------------------------------------------- frozen blocks


def step(network, frozen):
    """Take one step; return the weights before and after it and the bytes that were kept for the gradient."""
    model = build_backbone(BackboneConfig(network, "random"), 2, size=64)
    model.freeze(frozen)
    before = copy.deepcopy(model.state_dict())
    kept = {}

    def count(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    set_training(model, "batch")
    seen = images(64, 12)
    batch = StepBatch(seen[:4], torch.arange(4) % 2, seen[4:8], seen[8:])
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        train_step(model, torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1), batch, micro_batch=100)
    return before, dict(model.named_parameters()), sum(kept.values())


@pytest.mark.parametrize("network", NETWORKS)
def test_frozen_blocks_keep_their_weights_and_nothing_for_the_gradient(network):
    found = [step(network, frozen) for frozen in (0, 1, 2)]
    sizes = [kept for _, _, kept in found]
    assert sizes[0] > sizes[1] > sizes[2] > 0
    before, after, _ = found[1]
    kernels = {name for name, parameter in after.items() if parameter.ndim > 1}
    frozen = {name for name, parameter in after.items() if not parameter.requires_grad}
    assert {name for name in kernels if torch.equal(after[name], before[name])} == kernels & frozen
    assert all(torch.equal(after[name], before[name]) for name in frozen)
    assert 0 < len(frozen) < len(after)
    assert not {name for name in frozen if name.startswith("head.")}
    before, after, _ = found[0]
    assert not [name for name in kernels if torch.equal(after[name], before[name])]


def test_frozen_blocks_leave_more_room_for_images():
    config = FixMatchOptions(memory_gb=1.84)
    sizes = []
    for frozen in (0, 2):
        model = build_backbone(BackboneConfig("test_efficientnet", "random"), 2)
        model.freeze(frozen)
        sizes.append(fit_micro_batch(model, 64, config))
    assert sizes[1] > 1.2 * sizes[0]


def test_more_blocks_than_there_are():
    model = build_backbone(BackboneConfig(weights="random"), 2)
    model.freeze(7)  # of EfficientNet-Lite0: all
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == {
        "head.weight",
        "head.bias",
    }
    with pytest.raises(ConfigError, match=r"train\.frozen_blocks=8: this network has 7 blocks"):
        model.freeze(8)
    with pytest.raises(ConfigError, match=r"train\.frozen_blocks=-1"):
        FixMatchOptions(frozen_blocks=-1)
