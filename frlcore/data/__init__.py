"""Data sets as uint8 tensors with a fixed split, by name or from a folder of images; crop and flip on the device.

    splits pictures < sources folders < loading
"""

from frlcore.data.folders import image_folder
from frlcore.data.loading import augment, load, picture, to_float
from frlcore.data.splits import Split, Splits, digest
from frlcore.settings import DataInfo, info

__all__ = [
    "DataInfo", "Split", "Splits", "augment", "digest", "image_folder", "info", "load", "picture", "to_float",
]  # fmt: skip
