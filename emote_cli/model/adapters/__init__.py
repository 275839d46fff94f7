"""Public checkpoints of EMO's family: what is peculiar to each, outside of the Backbone."""
