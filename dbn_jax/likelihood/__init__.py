"""Partition functions, likelihoods and the variational bound."""
