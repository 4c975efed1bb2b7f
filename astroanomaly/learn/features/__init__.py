"""Frozen features: where they are stored, scaled, projected and made invariant."""
