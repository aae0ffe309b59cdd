"""A study's best settings, trained longer: `python scripts/next_round.py study_dir=outputs/studies/<name>`."""

from playbook.procedures.command import procedure_script

main = procedure_script("next_round")

if __name__ == "__main__":
    main()
