"""How the families of checkpoints make frames: one module each, found by `find_scheme`."""
