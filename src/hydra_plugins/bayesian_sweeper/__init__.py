"""A Hydra sweeper for when exploration has ended: Bayesian, on a finished study's refined space, resumable (B12)."""
