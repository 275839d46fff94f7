"""Where each key of a published file goes in our model. One file per family."""
