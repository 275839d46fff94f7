"""Training: what trains in each stage, one step, saving and resuming, the loop."""
