"""`python -m playbook.report study_dir=<folder>`: the report of a study of any Hydra app, without a checkout."""

import sys
from pathlib import Path

from playbook.errors import InputError


def main(arguments: list[str]) -> int:
    """The exit code: 0, or 2 after a line that says what is wrong."""
    try:
        key, _, folder = " ".join(arguments).partition("=")
        if key != "study_dir" or not folder:
            raise InputError(f"{' '.join(arguments) or 'nothing'}: type study_dir=<the folder of a study>")
        from playbook.report.study_report import report  # a second of imports

        print(report(Path(folder)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
