"""trunk + head as one: what a boosted head adds to the softmax that it replaces."""
