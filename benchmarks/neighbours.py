"""The nearest objects of many: ``python benchmarks/neighbours.py WHAT FEATURES``.

``make``: the file of features, of the galaxies of ``galaxyzoo-odd.zip``, from two pairs of rotated views. ``axes``: the
share of the 20 nearest galaxies that stay the nearest on fewer axes with 8 bits. ``ways``: recall, bytes and times of
ways to find the hundred nearest of many objects. ``active``: anomalies found where all objects are ranked, and where
only the nearest of labelled objects are (SEALS, Coleman et al. 2022, arXiv:2007.00077). ``scan``: the time of a scan.

A large set is made of the galaxies: each point is a mixture, with random weights, of one object and two of its twenty
nearest, plus differences between the two pairs of views of two other objects, which are real noise. Times are processor
times of one thread. ``ASTROANOMALY_DATA`` names the folder of the data.
"""

import argparse
import os
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from frames import Network
from sky_sets import members, unzipped
from views import outlier_scores, scores

from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import unit_length
from astroanomaly.learn.preprocessing import resize
from astroanomaly.parallel.blas import one_blas_thread
from astroanomaly.session.similar import best_matches, compare_parts
from astroanomaly.session.survey.points import write_points

SIZES, MIXED, BLOCK, WANTED, PART = (128, 48), 20, 20_000, 100, 25_000


# ----------------------------------------------------------------------------------------------------------- the data


def make(path):
    """Keep ``(2, n, D)`` features of all galaxies, from two pairs of rotated views."""
    archive = zipfile.ZipFile(Path(os.environ["ASTROANOMALY_DATA"]) / "galaxyzoo-odd.zip")
    every = members(archive)
    images = unzipped(archive, [name for name, _ in every])
    networks = {size: Network() for size in SIZES}  # each is made ready for one size
    parts = []
    for start in range(0, len(images), 64):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + 64].transpose(0, 3, 1, 2))).float() / 255
        pairs = []
        for pair in ((0, 2), (1, 3)):
            layers = []
            for size, network in networks.items():
                seen = resize(pixels, size)
                with torch.inference_mode():
                    views = [
                        network.run(seen.rot90(k, (2, 3)).contiguous(memory_format=torch.channels_last)) for k in pair
                    ]
                mean = (views[0] + views[1]).float().numpy() / 2
                layers.append(mean[:, network.backbone.widths(size)[0] :])  # without the end of the network
            pairs.append(np.concatenate(layers, axis=1))
        parts.append(np.stack(pairs))
    widths = [width for size, network in networks.items() for width in network.backbone.widths(size)[1:]]
    odd = np.array([row["label"] == "anomaly" for _, row in every])
    np.savez(path, features=np.concatenate(parts, axis=1).astype(np.float16), widths=widths, odd=odd)


def points_of(path):
    """``(2, n, D)`` float32 points of length 1 on the scale of the set, and ``(n,)`` which are odd."""
    with np.load(path) as file:
        features, widths, odd = file["features"].astype(np.float32), file["widths"], file["odd"]
    scaler = FeatureScaler.measure(features[0], widths)
    return np.stack([scaler.transform(one) for one in features]), odd


class Many:
    """As many points as are wanted, in blocks that are the same each time."""

    def __init__(self, points):
        self.points, self.noise = points[0], points[1] - points[0]
        alike = self.points @ self.points.T
        np.fill_diagonal(alike, -np.inf)
        self.near = np.argpartition(-alike, MIXED, axis=1)[:, :MIXED]

    def block(self, number, count=BLOCK):
        """``(count, D)`` float32 of length 1."""
        rng = np.random.default_rng((0, number))
        first, *others = rng.integers(len(self.points), size=(3, count))
        two = self.near[first[:, None], rng.integers(MIXED, size=(count, 2))]
        weights = rng.dirichlet(np.ones(3), count).astype(np.float32)
        mixed = weights[:, :1] * self.points[first]
        for column in range(2):
            mixed += weights[:, column + 1][:, None] * self.points[two[:, column]]
            mixed += self.noise[others[column]] / np.float32(np.sqrt(2))
        return unit_length(mixed, copy=False)


# ----------------------------------------------------------------------------------------------------- ways to search


def axes_of(points):
    """``(D, D)`` float32 principal axes, the widest first, of a sample of points that have been centred already."""
    return np.linalg.eigh(points.T.astype(np.float64) @ points)[1][:, ::-1].astype(np.float32)


def codes(points, step):
    return np.clip(np.round(points / step), -127, 127).astype(np.int8)


def scan(stored, query, chunk=4096):
    """``(n,)`` float32 products of int8 rows with a query, by NumPy alone."""
    alike, room = np.empty(len(stored), np.float32), np.empty((chunk, stored.shape[1]), np.float32)
    for start in range(0, len(stored), chunk):
        some = stored[start : start + chunk]
        np.copyto(room[: len(some)], some)
        np.dot(room[: len(some)], query, out=alike[start : start + len(some)])
    return alike


def nearest(alike, count):
    found = np.argpartition(-alike, count)[:count]
    return found[np.argsort(-alike[found])]


def overlap(found, wanted):
    return np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found, wanted, strict=True)])


def few_axes(points):
    points, again = points
    truth = neighbours(points)
    print(f"from the other two views: {overlap(neighbours(again, points), truth):.3f}", flush=True)
    axes = axes_of(points[np.random.default_rng(0).permutation(len(points))[:2000]])
    for count in (64, 128, 256, 512, points.shape[1]):
        seen = points @ axes[:, :count]
        step = np.abs(seen).max(axis=0) / 127
        print(f"| {count} | {overlap(neighbours(codes(seen, step) * step), truth):.3f} |", flush=True)


def neighbours(points, others=None):
    alike = points @ (points if others is None else others).T
    np.fill_diagonal(alike, -np.inf)
    return [nearest(row, 20) for row in alike]


def ways(points, objects, asked, axes, graphs):
    import faiss
    import hnswlib
    from usearch.index import Index

    faiss.omp_set_num_threads(1)
    many = Many(points)
    turned = axes_of(many.block(0)[:2000])[:, :axes]
    queries, stored, best = many.block(10**6, asked), [], [np.empty((asked, 0))] * 2
    for number in range(objects // BLOCK):
        block = many.block(number)
        alike = queries @ block.T  # exact
        names = np.broadcast_to(np.arange(number * BLOCK, (number + 1) * BLOCK), alike.shape)
        both = [np.concatenate(pair, axis=1) for pair in zip(best, (alike, names), strict=True)]
        kept = np.argpartition(-both[0], WANTED, axis=1)[:, :WANTED]
        best = [np.take_along_axis(one, kept, axis=1) for one in both]
        seen = block @ turned
        step = np.abs(seen).max(axis=0) / 127 if not number else step  # noqa: F821
        stored.append(codes(seen, step))
    stored, truth, asked_for = np.concatenate(stored), best[1].astype(int), queries @ turned
    floats = (stored * step).astype(np.float32)

    def tell(way, build, size, search):
        times, found = [], []
        for query in asked_for:
            began = time.process_time()
            found.append(search(query))
            times.append(time.process_time() - began)
        print(
            f"| {way} | {overlap(found, truth):.3f} | {build:.1f} | {size / objects:.0f} | "
            f"{np.median(times) * 1e3:.2f} | {np.quantile(times, 0.95) * 1e3:.2f} |",
            flush=True,
        )

    def timed(function):
        began = time.process_time()
        return function(), time.process_time() - began

    tell("int8 scan, NumPy", 0, stored.nbytes, lambda q: nearest(scan(stored, q * step), WANTED))
    flat = faiss.IndexScalarQuantizer(axes, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    build = timed(lambda: (flat.train(floats[:BLOCK]), flat.add(floats)))[1]
    tell("FAISS, 8 bit scan", build, stored.nbytes, lambda q: flat.search(q[None], WANTED)[1][0])
    lists = max(64, int(4 * np.sqrt(objects)))
    cells = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(axes), axes, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    build = timed(lambda: (cells.train(floats[: 40 * lists]), cells.add(floats)))[1]
    for probes in (8, 32, 128):
        cells.nprobe = probes
        tell(
            f"FAISS, {probes} of {lists} cells", build, stored.nbytes + 8 * objects,
            lambda q: cells.search(q[None], WANTED)[1][0],
        )  # fmt: skip
    if not graphs:
        return
    index = Index(ndim=axes, metric="ip", dtype="i8", connectivity=16, expansion_add=100, expansion_search=200)
    build = timed(lambda: index.add(np.arange(objects), floats, threads=1))[1]
    tell("USearch, 8 bit", build, index.serialized_length, lambda q: index.search(q, WANTED, threads=1).keys)
    graph = hnswlib.Index("ip", axes)
    graph.init_index(objects, ef_construction=100, M=16)
    graph.set_num_threads(1)
    build = timed(lambda: graph.add_items(floats))[1]
    graph.set_ef(200)
    tell("hnswlib, float32", build, graph.index_file_size(), lambda q: graph.knn_query(q[None], WANTED)[0][0])


def scan_times(objects, axes):
    """Time what `similar --survey` does with the stored features: parts of 25,000 objects, in files."""
    rng, step = np.random.default_rng(0), np.full(axes, 0.01, np.float32)
    query, times = rng.normal(size=(1, axes)).astype(np.float32), []
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, objects, PART):
            write_points(Path(folder), first, [rng.integers(-127, 128, (min(PART, objects - first), axes), np.int8)])
        paths = sorted(Path(folder).glob("*.npy"))
        for _ in range(20):
            began, wall = time.process_time(), time.perf_counter()
            with one_blas_thread():
                best_matches(compare_parts(paths, step, query, None), WANTED)
            times.append((time.process_time() - began, time.perf_counter() - wall))
    for name, taken in zip(("processor", "clock"), np.array(times).T * 1e3, strict=True):
        middle, most = np.quantile(taken, [0.5, 0.95])
        print(f"{objects} objects, {axes} axes, {name}: median {middle:.0f} ms, 95 % within {most:.0f} ms")


# ---------------------------------------------------------------------------------- only the nearest of the labelled


def active(points, odd, seeds, axes):
    """Anomalies among 200 verdicts from 5 + 15 labels drawn at random, where 5 % are anomalies."""
    points = points[0]
    seen = points @ axes_of(points[np.random.default_rng(0).permutation(len(points))[:2000]])[:, :axes]
    step = np.abs(seen).max(axis=0) / 127
    stored = codes(seen, step) * step
    variants = {"all ranked, float32": (points, 0), f"all ranked, {axes} axes of 8 bits": (stored, 0)}
    variants |= {f"the nearest {k} of each labelled object": (stored, k) for k in (10, 20, 50, 100)}
    base = None
    for name, (values, k) in variants.items():
        rows = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            some = np.r_[np.flatnonzero(~odd), rng.choice(np.flatnonzero(odd), round((~odd).sum() / 19), replace=False)]
            here, truth = unit_length(values[some]), odd[some].astype(int)
            outliers = outlier_scores(here)
            given = np.r_[
                rng.choice(np.flatnonzero(truth == 1), 5, replace=False),
                rng.choice(np.flatnonzero(truth == 0), 15, replace=False),
            ].tolist()
            start, near, left = len(given), here @ here.T, np.ones(len(some), bool)
            near = np.argpartition(-near, max(k, 1), axis=1)[:, : k + 1]
            left[given] = False
            while len(given) < start + 200:
                ranked, may = scores(here, truth, np.array(given), outliers), left
                if k:
                    may = np.zeros(len(some), bool)
                    may[near[given]] = True
                    may &= left
                chosen = np.argsort(-np.where(may, ranked, -np.inf))[:5]
                left[chosen] = False
                given += chosen.tolist()
            rows.append((truth[given[start : start + 100]].sum(), truth[given[start:]].sum(), len({*near[given].flat})))
        rows = np.array(rows, float)
        base = rows if base is None else base
        apart = rows - base
        print(
            f"| {name} | {rows[:, 0].mean():.1f} | {apart[:, 0].mean():+.1f} ± "
            f"{apart[:, 0].std(ddof=1) / seeds**0.5:.1f} | {rows[:, 1].mean():.1f} | {apart[:, 1].mean():+.1f} ± "
            f"{apart[:, 1].std(ddof=1) / seeds**0.5:.1f} | {rows[:, 2].mean() / len(some) if k else 1:.2f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("make", "axes", "ways", "active", "scan"))
    parser.add_argument("features", type=Path)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--axes", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--graphs", action="store_true", help="also graphs, which take long to build")
    arguments = parser.parse_args()
    if arguments.what == "make":
        make(arguments.features)
    elif arguments.what == "axes":
        few_axes(points_of(arguments.features)[0])
    elif arguments.what == "ways":
        ways(points_of(arguments.features)[0], arguments.objects, arguments.queries, arguments.axes, arguments.graphs)
    elif arguments.what == "scan":
        scan_times(arguments.objects, arguments.axes)
    else:
        active(*points_of(arguments.features), arguments.seeds, arguments.axes)


if __name__ == "__main__":
    main()
