"""Do the intervals of what is left hold the truth as often as they say: ``python benchmarks/interval_coverage.py``.

Simulated surveys: scores of ten shapes, rates of anomalies from 0.5 to 25 %, audit sets of 100, 300 and 1,000 objects.
In half of them nothing else was labelled; in the others the 150 highest scores of three earlier rankings were.
"""

import argparse

import numpy as np

from astroanomaly.session.calibration import forecast

SHAPES = {
    "two normals, 2 deviations apart": lambda rng, odd, noise: noise + 2 * odd,
    "two normals, 3.5 apart": lambda rng, odd, noise: noise + 3.5 * odd,
    "two normals, 8 apart": lambda rng, odd, noise: noise + 8 * odd,
    "anomalies twice as broad": lambda rng, odd, noise: np.where(odd, 2.5 + 1.8 * noise, noise),
    "3 in 10 anomalies look nominal": lambda rng, odd, noise: noise + 4 * (odd & (rng.random(len(odd)) < 0.7)),
    "heavy tails": lambda rng, odd, noise: rng.standard_t(3, len(odd)) + 3 * odd,
    "artefacts score as high": lambda rng, odd, noise: noise + 4 * (odd | (rng.random(len(odd)) < 0.02)),
    "scores say nothing": lambda rng, odd, noise: noise,
    "scores spread exponentially": lambda rng, odd, noise: np.sinh(noise + 2.5 * odd),
    "scores that saturate": lambda rng, odd, noise: np.round(5 * np.tanh((noise + 2.5 * odd) / 2), 2),
}
RATES = (0.005, 0.02, 0.1, 0.25)
AUDITS = (100, 300, 1000)
DEPTHS = (10, 50, 100, 200, 500, 1000)


def survey(shape, rate, audit, rng, objects=6000, labelled=0, alike=0.5):
    """Make a survey; return what the forecast is given, and the truth of the unlabelled, highest score first."""
    odd = rng.random(objects) < rate

    def look():
        return SHAPES[shape](rng, odd, rng.normal(size=objects))

    scores = look()
    drawn = np.zeros(objects, bool)
    drawn[rng.choice(objects, audit, replace=False)] = True
    known = np.zeros(objects, bool)
    for _ in range(3 if labelled else 0):  # an earlier ranking sees the objects partly in its own way
        earlier = alike * scores + (1 - alike) * look()
        earlier[drawn | known] = -np.inf
        known[np.argsort(-earlier)[: labelled // 3]] = True
    free = ~drawn & ~known
    given = (scores[free], scores[drawn], odd[drawn], scores[known], odd[known])
    return given, odd[free][np.argsort(-scores[free], kind="stable")]


def check(shape, rate, audit, rng, **more):
    """Return for each depth and for all: whether 90 % and 95 % intervals hold, and the width; None without anomaly."""
    given, truth = survey(shape, rate, audit, rng, **more)
    found = forecast(*given, depths=DEPTHS, seed=0)
    inside = {}
    for name, interval, true in [
        *((depth, item, truth[:depth].sum()) for depth, item in zip(found.depths, found.within, strict=True)),
        ("all", found.total, truth.sum()),
    ]:
        inside[name] = (
            interval.low <= true <= interval.high,
            interval.low_95 <= true <= interval.high_95,
            interval.high - interval.low,
            interval.expected - true,
        )
    return inside


def row(title, results):
    cells = []
    for name in (*DEPTHS, "all"):
        values = np.array([r[name] for r in results if name in r], float)
        cells.append(f"{100 * values[:, 0].mean():.0f} ({values[:, 2].mean():.0f})" if len(values) else "")
    return f"| {title} | {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=6, help="surveys of each kind")
    parser.add_argument("--objects", type=int, default=6000)
    arguments = parser.parse_args()
    for labelled in (0, 150):
        found = {}
        for shape in SHAPES:
            for rate in RATES:
                for audit in AUDITS:
                    for seed in range(arguments.repeats):
                        rng = np.random.default_rng((seed, audit, int(1000 * rate), list(SHAPES).index(shape)))
                        made = check(shape, rate, audit, rng, objects=arguments.objects, labelled=labelled)
                        for key in (shape, f"{100 * rate:g} % anomalies", f"audit set of {audit}", "in the mean"):
                            found.setdefault(key, []).append(made)
        print(f"\n{labelled} other labels: percent of 90 % intervals that hold the truth (mean width)\n")
        print(f"| | {' | '.join(f'next {d}' for d in DEPTHS)} | all |\n|---|{'---|' * (len(DEPTHS) + 1)}")
        for key, results in found.items():
            print(row(key, results))
        values = np.array([v for r in found["in the mean"] for v in r.values()], float)
        print(f"\nall intervals: 90 %: {100 * values[:, 0].mean():.1f}, 95 %: {100 * values[:, 1].mean():.1f}")


if __name__ == "__main__":
    main()
