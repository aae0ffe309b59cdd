"""What a study searches: its sequence of points. Knows neither torch nor Hydra."""
