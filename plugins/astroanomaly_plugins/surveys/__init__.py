"""Cutouts from everyday surveys, each from the service that its own pages name."""
