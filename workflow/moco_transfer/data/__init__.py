"""From a raw release to a packed store with splits and labelled subsets. No torch here."""
