"""Cutouts from any image service of the Virtual Observatory."""
