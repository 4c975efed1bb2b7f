"""Injections: simulated light added to real cutouts, ranked as the survey is, to measure what a search would find."""
