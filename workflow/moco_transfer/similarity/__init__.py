"""How alike two datasets are, by the activations of one network on both; arrays in, a table out.

``networks`` asks the other question, how alike two networks are on the same images.
"""

from moco_transfer.similarity.pairwise import compare

__all__ = ["compare"]
