"""From a source to a cache: request, plan, workers, retries."""
