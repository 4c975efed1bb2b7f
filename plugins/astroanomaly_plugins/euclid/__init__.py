"""Cutouts from the Euclid archive."""
