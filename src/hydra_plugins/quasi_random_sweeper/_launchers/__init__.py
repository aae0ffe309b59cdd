"""Hydra imports this package at the start of every app, to look into it: the launchers are in `_launch`."""
