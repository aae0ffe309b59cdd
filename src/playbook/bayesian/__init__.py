"""Bayesian optimization on a refined space, when exploration has ended (B12): its start, and its proposals."""
