"""Prepared data sets: making them and reading them."""
