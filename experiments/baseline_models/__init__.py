"""Models of other kinds: a judge of generated images, and a mixture to compare with."""
