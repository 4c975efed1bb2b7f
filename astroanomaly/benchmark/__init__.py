"""Rankers measured by the protocol of Gomez & O'Ryan 2025 (arXiv:2505.03509) on any labelled image set."""
