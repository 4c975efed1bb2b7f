"""Measure rankers by the reference protocol on any labelled image set.

The protocol is that of Gomez & O'Ryan 2025 (arXiv:2505.03509): a few labels to begin with, then rounds of training,
each followed by labels for the highest-scored objects. Figures are measured on what is still unlabelled.
"""

from astroanomaly.benchmark.compare import compare
from astroanomaly.benchmark.expert import Expert
from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.benchmark.run import BenchmarkResult, benchmark, benchmark_steps

__all__ = ["BenchmarkResult", "Expert", "Protocol", "benchmark", "benchmark_steps", "compare"]
