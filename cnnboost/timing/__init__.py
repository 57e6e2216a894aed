"""hybrid -> latency: what a prediction costs, path by path, and how far the limit is."""
