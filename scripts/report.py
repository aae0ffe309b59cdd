"""Reads a study, or trials from anywhere: `python scripts/report.py study_dir=outputs/studies/<study>`."""

from playbook.report.__main__ import main

if __name__ == "__main__":
    main()
