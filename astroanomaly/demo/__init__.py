"""The whole job on a small simulated sky."""
