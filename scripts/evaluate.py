"""A run's best model on the test split: `python scripts/evaluate.py run_dir=outputs/runs/<name>`; --help says more."""

from playbook.procedures.command import procedure_script

main = procedure_script("evaluate")

if __name__ == "__main__":
    main()
