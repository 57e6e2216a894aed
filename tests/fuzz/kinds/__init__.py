"""Every kind of file that is read."""

from __future__ import annotations

from tests.fuzz.kind import Kind
from tests.fuzz.kinds.bundles import Bundles, ForgedGraphs, ImagesToPredict
from tests.fuzz.kinds.documents import Cards, Overviews, Reports
from tests.fuzz.kinds.folders import Folders
from tests.fuzz.kinds.heads import ForgedHeads, Heads
from tests.fuzz.kinds.models import KerasFiles, LegacyFiles
from tests.fuzz.kinds.pictures import PICTURES
from tests.fuzz.kinds.recipes import Overrides, Recipes
from tests.fuzz.kinds.runs import Checkpoints, Histories, Studies
from tests.fuzz.kinds.sources import Archives, Cifar, Csv, ImageCaches, Npz
from tests.fuzz.kinds.stores import Features, Teachers

KINDS: dict[str, type[Kind]] = {
    kind.name: kind
    for kind in (
        *PICTURES, Archives, Csv, Npz, Cifar, Folders, ImageCaches, Recipes, Overrides, KerasFiles,
        LegacyFiles, Features, Teachers, Checkpoints, Histories, Heads, ForgedHeads, Bundles, ForgedGraphs,
        ImagesToPredict, Studies, Reports, Cards, Overviews,
    )
}  # fmt: skip
