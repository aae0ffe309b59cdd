"""The charts of a report, a kind a file."""
