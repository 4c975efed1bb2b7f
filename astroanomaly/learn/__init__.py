"""The learning layer: torch and timm are used here and nowhere else."""
