"""Hydra's launchers, so that the death of one trial is nobody else's: a launcher a file."""
