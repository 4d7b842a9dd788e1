"""The figures, drawn with Matplotlib alone from frames and arrays; nothing here reads a file or computes a result."""
