"""The FixMatch loss and step: equal to the formulae of the paper, and the same in parts as in one piece."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from astroanomaly.config import BackboneConfig
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.training.fixmatch import (
    MovingAverage,
    StepBatch,
    fixmatch_loss,
    measure_norm,
    set_training,
    train_step,
)

TINY = BackboneConfig(name="test_efficientnet", weights="random")


def logits(*shape, seed=0, scale=3.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(classes=2):
    return build_backbone(TINY, classes, seed=1)


def step_batch(labelled=6, unlabelled=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(labelled + 2 * unlabelled, 3, 32, 32, generator=generator)
    parts = images.split([labelled, unlabelled, unlabelled])
    return StepBatch(parts[0], torch.arange(labelled) % 2, parts[1], parts[2])


# ---------------------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("classes", [2, 3])
def test_the_loss_is_the_formula_of_the_paper(classes):
    labelled, weak, strong = logits(5, classes), logits(40, classes, seed=1), logits(40, classes, seed=2)
    targets = torch.arange(5) % classes
    loss = fixmatch_loss(labelled, targets, weak, strong, threshold=0.9, temperature=0.5, weight=0.7)

    def softmax(row):
        powers = np.exp(row - row.max())
        return powers / powers.sum()

    supervised = np.mean([-np.log(softmax(row)[t]) for row, t in zip(labelled.numpy(), targets.numpy(), strict=True)])
    total = 0.0
    passed = []
    for w, s in zip(weak.numpy().astype(float), strong.numpy().astype(float), strict=True):
        q = softmax(w / 0.5)
        passed.append(q.max() >= 0.9)
        total += passed[-1] * -np.log(softmax(s)[q.argmax()])
    assert 5 < sum(passed) < 40
    assert loss.supervised.item() == pytest.approx(supervised, rel=1e-5)
    assert loss.unlabelled.item() == pytest.approx(total / 40, rel=1e-5)
    assert loss.total.item() == pytest.approx(supervised + 0.7 * total / 40, rel=1e-5)
    assert loss.confident.tolist() == passed
    assert loss.pseudo_labels.tolist() == weak.argmax(1).tolist()


def test_one_confident_image_of_four_counts_a_quarter():
    weak = torch.tensor([[9.0, 0.0], [0.1, 0.0], [0.0, 0.1], [0.0, 0.0]])
    strong = torch.zeros(4, 2)
    loss = fixmatch_loss(logits(2, 2), torch.tensor([0, 1]), weak, strong)
    assert loss.unlabelled.item() == pytest.approx(np.log(2) / 4)


@pytest.mark.parametrize(("probability", "passes"), [(0.80, False), (0.82, True)])
def test_a_temperature_of_a_half_lets_pass_from_a_probability_of_81_per_cent(probability, passes):
    weak = torch.tensor([[np.log(probability / (1 - probability)), 0.0]])
    loss = fixmatch_loss(logits(2, 2), torch.tensor([0, 1]), weak.float(), torch.zeros(1, 2))
    assert loss.confident.item() is passes


def test_no_gradient_flows_through_the_pseudo_labels():
    weak, strong = ((5 * logits(8, 2, seed=k)).requires_grad_() for k in (1, 2))
    loss = fixmatch_loss(logits(2, 2), torch.tensor([0, 1]), weak, strong)
    loss.total.backward()
    assert weak.grad is None
    assert strong.grad.abs().sum() > 0


def test_without_unlabelled_images_only_the_labels_count():
    labelled = logits(4, 2)
    loss = fixmatch_loss(labelled, torch.tensor([0, 1, 0, 1]), labelled[:0], labelled[:0])
    assert loss.total.item() == loss.supervised.item() > 0
    assert loss.unlabelled.item() == 0


# ---------------------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize("size", [1, 7, 11, 44, 100, 1000])
def test_every_part_of_a_step_has_the_proportion_of_the_step(size):
    batch = step_batch(16, 80)
    parts = list(batch.split(size))
    assert len(parts) == min(-(-176 // size), 16)
    assert all(abs(5 * len(part.labelled) - len(part.weak)) <= 5 for part in parts)
    assert all(len(part.weak) == len(part.strong) for part in parts)
    for name in ("labelled", "targets", "weak", "strong"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))


def gradients(micro_batch, norm, **options):
    model = network()
    measure_norm(model, [torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(9))])
    nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(2))  # so that pseudo-labels pass
    set_training(model, norm)
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    loss = train_step(model, still, step_batch(), micro_batch=micro_batch, norm=norm, **options)
    assert 0 < loss.confident.float().mean() <= 1
    assert loss.unlabelled > 0
    return loss, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_with_frozen_statistics_the_parts_have_the_gradient_of_the_whole():
    whole, expected = gradients(1000, "frozen")
    for micro_batch in (13, 5):  # three parts of unequal size; six parts
        loss, found = gradients(micro_batch, "frozen")
        assert loss.total.item() == pytest.approx(whole.total.item(), abs=1e-5)
        assert torch.equal(loss.pseudo_labels, whole.pseudo_labels)
        for name, gradient in expected.items():
            scale = gradient.abs().max().clamp_min(1.0)
            assert (found[name] - gradient).abs().max() <= 1e-5 * scale, name


def test_with_batch_statistics_the_size_of_the_parts_matters():
    whole, parts = gradients(1000, "batch")[1], gradients(13, "batch")[1]
    assert max((parts[name] - whole[name]).abs().max().item() for name in whole) > 1e-3


@pytest.mark.parametrize("share", [0.1, 10.0])
def test_a_gradient_that_is_too_long_is_scaled_down(share):
    _, whole = gradients(1000, "frozen")
    length = torch.stack([gradient.norm() for gradient in whole.values()]).norm()
    _, found = gradients(13, "frozen", max_grad_norm=share * length.item())
    for name, gradient in whole.items():
        torch.testing.assert_close(found[name], gradient * min(share, 1.0), rtol=1e-3, atol=1e-5)


def test_frozen_statistics_stay_and_weak_views_change_nothing_but_the_pseudo_labels():
    model = network()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    set_training(model, "frozen")
    train_step(model, torch.optim.SGD(model.parameters(), lr=0.1), step_batch(), micro_batch=100, norm="frozen")
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    set_training(model, "batch")
    train_step(model, torch.optim.SGD(model.parameters(), lr=0.1), step_batch(), micro_batch=100, norm="batch")
    assert any(not torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_a_class_without_labels_is_neither_predicted_nor_trained():
    model = network(3)
    with torch.no_grad():
        model.head.bias[1] = 9.0  # the network would choose it everywhere
    learnt = torch.tensor([True, False, True])
    batch = step_batch()
    batch = StepBatch(batch.labelled, 2 * batch.targets, batch.weak, batch.strong)
    set_training(model, "batch")
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    loss = train_step(model, still, batch, micro_batch=20, learnt=learnt, threshold=0.5)
    assert set(loss.pseudo_labels.tolist()) <= {0, 2}
    assert torch.isfinite(loss.total)
    assert not model.head.weight.grad[1].any()
    assert model.head.weight.grad[2].any()


def test_steps_lower_the_loss_of_a_batch_they_see_again():
    model = network()
    set_training(model, "batch")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = [train_step(model, optimiser, step_batch(), micro_batch=1000).supervised.item() for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]


# ------------------------------------------------------------------------------------------------------------- averages


def test_the_average_moves_its_weights_a_little_and_copies_its_buffers():
    model = network()
    average = MovingAverage(model)
    start = copy.deepcopy(average.model.state_dict())
    set_training(model, "batch")
    train_step(model, torch.optim.SGD(model.parameters(), lr=1.0), step_batch(), micro_batch=1000)
    average.move(0.9)
    moved = dict(model.named_parameters())
    for name, parameter in average.model.named_parameters():
        assert torch.allclose(parameter, 0.9 * start[name] + 0.1 * moved[name], atol=1e-6)
        assert not parameter.requires_grad
    changed = 0
    for name, buffer in model.named_buffers():
        assert torch.equal(dict(average.model.named_buffers())[name], buffer)
        changed += name in start and not torch.equal(start[name], buffer)
    assert changed


def test_measured_statistics_make_scoring_agree_with_what_training_saw():
    model, images = network(), torch.rand(256, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    momenta = [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        seen = copy.deepcopy(model).train()(images)
        before = (model.eval()(images) - seen).abs().max()
        measure_norm(model, [images])
        after = (model(images) - seen).abs().max()
    assert after < 0.1 * seen.std()
    assert after < 0.1 * before
    assert not any(module.training for module in model.modules())
    assert momenta == [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
