"""From a source to a cache: plan, workers, retries."""
