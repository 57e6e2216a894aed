"""Another name of `cnnboost.metrics`."""

import sys

from cnnboost import metrics

sys.modules[__name__] = metrics
