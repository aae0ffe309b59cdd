"""A Hydra sweeper for studies: quasi-random, resumable, extendable. `hydra/sweeper=quasi_random` in any Hydra app."""
