"""Models by name: which there are, where they lie on this disk, how they get there."""
