"""From a raw release to a packed store with splits: adapters, decoding, packing, splitting, labels. No torch
here."""
