"""Studies whose truth is known, and how often the report's verdicts agree with it: `make truth`.

A module here has `CLAIMS`. What it draws must not be what the rule that it tries assumes: curves with slow noise,
surfaces from full tables of real networks, seeds with heavy tails.
"""
