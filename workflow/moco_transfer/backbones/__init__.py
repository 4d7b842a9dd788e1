"""Networks that turn images [n, 3, h, w] into pooled features [n, ``width``], and the layers of them that are compared.

A backbone is an ``nn.Module`` with two attributes: ``width``, and ``left_out``, the prefixes of those names in a published
file of weights that it has no use for (its classifier, which is cut off).
"""
