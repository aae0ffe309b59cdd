"""Launchers against the real things on one machine, a Slurm of one node and a Ray cluster: `make integration`."""
