"""How alike two datasets are, by the activations of one network on both; arrays in, a table out."""

from moco_transfer.similarity.pairwise import compare

__all__ = ["compare"]
