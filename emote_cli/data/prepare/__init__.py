"""Raw videos become a data set that one can trust."""
