"""From a disk to an image set."""

from __future__ import annotations

from cnnboost.images.audit import audit
from cnnboost.images.decode import InputSpec, decode_image
from cnnboost.images.imageset import SPLITS, ImageSet
from cnnboost.images.load import load_images
from cnnboost.images.split import Split

__all__ = ["SPLITS", "ImageSet", "InputSpec", "Split", "audit", "decode_image", "load_images"]
