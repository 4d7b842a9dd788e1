"""Finetuning: a linear head on stored features (NumPy), or the whole network (PyTorch)."""
