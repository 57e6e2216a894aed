"""Search: many versions of a recipe, scored on images that none of them was fitted on.

Optuna chooses the values (grid, random, coarse-to-fine random, tree-structured Parzen estimators [1]_) and
keeps every trial in an SQLite file, so that a search that was killed goes on. Trials are fitted on a part of
the train split and scored on the rest of it: the split of the final scores decides nothing.

References
----------
.. [1] J. Bergstra, R. Bardenet, Y. Bengio and B. Kégl, "Algorithms for Hyper-Parameter Optimization",
   NeurIPS 2011.
"""

from cnnboost.search.plan import Plan, plan
from cnnboost.search.study import TrialScore, run_trial, search

__all__ = ["Plan", "TrialScore", "plan", "run_trial", "search"]
