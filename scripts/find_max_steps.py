"""How many steps to train for? `python scripts/find_max_steps.py model=cnn`; --help says more."""

from playbook.procedures.command import procedure_script

main = procedure_script("find_max_steps")

if __name__ == "__main__":
    main()
