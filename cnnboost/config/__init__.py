"""A recipe: one experiment, stated as values in a TOML file.

Unknown keys and impossible values are refused with the key, the value and what would do. A recipe is frozen;
`Recipe.digest` of some of its tables is what decides whether an output is up to date.
"""

from cnnboost.config.experiment import ALWAYS_AT_HAND, BUNDLE_TABLES, Recipe, changed
from cnnboost.config.load import load_recipe, packaged
from cnnboost.config.tables import Search, Space

__all__ = [
    "ALWAYS_AT_HAND",
    "BUNDLE_TABLES",
    "Recipe",
    "Search",
    "Space",
    "changed",
    "load_recipe",
    "packaged",
]
