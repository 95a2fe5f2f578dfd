"""How far two data sets are from each other: on plain tensors, with no model."""

from pare_tune.distance.mmd import l2, mmd2
from pare_tune.distance.otdd import PSEUDO_CLASSES, Inner, classes_of, otdd, otdd2

__all__ = ["PSEUDO_CLASSES", "Inner", "classes_of", "l2", "mmd2", "otdd", "otdd2"]
