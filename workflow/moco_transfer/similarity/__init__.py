"""Similarity of datasets by the activations of one network, and of encoders on the same images.

``activations`` records the layers of a network. ``pairwise`` makes the table behind figure 3 from the
measures in ``svcca`` (rows are images, as in the paper) and ``subspaces`` (channels that both datasets
share). ``encoders`` answers another question: how far pretraining moved an encoder.
"""
