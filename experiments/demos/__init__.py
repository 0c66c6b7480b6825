"""The arguments of the tutorial, one module each."""
