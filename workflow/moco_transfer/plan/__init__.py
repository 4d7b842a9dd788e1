"""What a run will cost, told before anything is computed: jobs, optimiser steps, images, disk and hours by stage.

``configuration`` reads the files as Snakemake does, ``images`` counts each dataset, ``jobs`` lists every job with its work,
``disk`` and ``hours`` add that up, ``report`` writes it down. Steps, splits and subsets come from the functions that the
stages themselves call. Nothing here imports PyTorch.
"""
