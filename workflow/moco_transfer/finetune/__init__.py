"""Finetuning: a linear head on cached features (NumPy), or the whole network (PyTorch), for each budget of epochs."""
