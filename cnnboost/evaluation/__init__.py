"""hybrid -> scores, comparisons and figures."""
