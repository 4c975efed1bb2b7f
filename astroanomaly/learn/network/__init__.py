"""Neural networks: backbones, pretrained weights, checkpoints."""
