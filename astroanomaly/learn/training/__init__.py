"""Training networks: FixMatch, fine-tuning, pretraining, augmentation, sampling."""
