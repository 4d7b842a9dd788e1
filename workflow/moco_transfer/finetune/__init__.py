"""Finetuning: a linear head on stored features (NumPy), or the whole network (PyTorch) for each budget of epochs."""
