"""The two halves of `why_it_works`."""
