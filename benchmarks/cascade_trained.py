"""A small network that is trained to guess scores, beside ridge regression: ``benchmarks/cascade_trained.py CACHE``.

Options as of ``cascade_rule.py``. The last two stages of EfficientNet-Lite0 at 64 px and a linear layer, which begins
as a ridge regression, learn the ranker's scores of the same objects as the program's student (squared error, Adam,
some epochs, batches of 32, a random rotated or mirrored view each time). Both see one view, so they cost the same. The
table gives the correlation with the ranker's scores, and the shares of the objects that must be seen, in the order of
the guesses, for 95 % and 99 % of the highest 1 % and 10 %: by the regression, the trained network, the mean of both.
"""

import copy
import time
from dataclasses import replace

import numpy as np
import torch
from cascade_rule import Set, arguments_of, draws, table, to_see
from sklearn.linear_model import RidgeCV
from torch import nn

from astroanomaly.config import BackboneConfig
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.preprocessing import to_tensor

NETWORK, SIZE, FROZEN = BackboneConfig(name="tf_efficientnet_lite0"), 64, 5
EPOCHS, BATCH, RATE = 10, 32, 1e-4


def activations(data, backbone):
    """Compute ``(views, n, C, h, w)`` of all objects after the stages that stay as they are."""
    network, seen = backbone.network, replace(data.context.input, size=SIZE, tta_views=1)
    planes = seen.check(data.cache)
    sky = seen.views == "sky"
    found = []
    for start in range(0, len(data.ids), 64):
        with torch.inference_mode():
            images = to_tensor(data.cache.read(data.ids[start : start + 64]), seen, "cpu", planes)
            turned = [images.rot90(k, (2, 3)) for k in range(4)] if sky else [images, images.flip(3)]
            inputs = [(view - backbone.mean) / backbone.std for view in turned]
            after = [network.blocks[:FROZEN](network.bn1(network.conv_stem(view))) for view in inputs]
        found.append(torch.stack(after).half().numpy())
    return np.concatenate(found, axis=1)


def trained(late, seen, rows, scores, seed):
    """Guesses of all objects by a network that has learnt the scores of some."""
    late, generator = copy.deepcopy(late), torch.Generator().manual_seed(seed)
    for part in late.parameters():
        part.requires_grad_(True)
    mean, spread = scores[rows].mean(), scores[rows].std()
    wanted = torch.from_numpy((scores[rows] - mean) / spread).float()
    begin = through(late, seen[0])
    ridge = RidgeCV(np.logspace(-2, 5, 15)).fit(begin[rows], wanted.numpy())
    head = nn.Linear(begin.shape[1], 1)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(ridge.coef_)[None])
        head.bias.fill_(float(ridge.intercept_))
    steps = EPOCHS * (len(rows) // BATCH)
    optimiser = torch.optim.Adam([*late.parameters(), *head.parameters()], lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    order = torch.cat([torch.randperm(len(rows), generator=generator) for _ in range(EPOCHS + 1)])
    for step in range(steps):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        views = torch.randint(len(seen), (BATCH,), generator=generator).numpy()
        images = torch.from_numpy(seen[views, rows[chosen.numpy()]]).float()
        loss = (head(late(images))[:, 0] - wanted[chosen]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.inference_mode():
        return head(torch.from_numpy(through(late, seen[0])))[:, 0].numpy() * spread + mean


def through(late, images):
    with torch.inference_mode():
        parts = [late(torch.from_numpy(images[k : k + 256]).float()) for k in range(0, len(images), 256)]
    return torch.cat(parts).numpy()


def main():
    arguments = arguments_of(__doc__)
    torch.set_num_threads(1)
    data = Set(arguments)
    backbone = build_backbone(NETWORK).eval()
    network = backbone.network
    late = nn.Sequential(
        *network.blocks[FROZEN:], network.conv_head, network.bn2, nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    seen = activations(data, backbone)
    found = {"ridge": [], "trained": [], "mean": []}
    for draw in draws(data, arguments):
        _, (guesses, _) = data.learn(draw.sample, draw.scores, draw.seed)
        began = time.process_time()
        other = trained(late.eval(), seen, draw.sample, draw.scores, draw.seed)
        took = time.process_time() - began
        scores = draw.scores[draw.survey]
        for name, guessed in zip(found, (guesses, other, (guesses + other) / 2), strict=True):
            one = guessed[draw.survey]
            row = [np.corrcoef(scores, one)[0, 1], *to_see(scores, one, 0.01), *to_see(scores, one, 0.1)]
            found[name].append(row)
            print(f"{name:8}", np.round(row, 3), f"{took:.0f} s of training", flush=True)
    for name, rows in found.items():
        print(name)
        table(("correlation", "1 %: 95", "99", "10 %: 95", "99"), rows)


if __name__ == "__main__":
    main()
