"""Sigmoid belief nets: explaining away, wake-sleep and the infinite tied net."""
