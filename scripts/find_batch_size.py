"""Which batch size is fast, and what bounds it? `python scripts/find_batch_size.py model=cnn`; --help says more."""

from playbook.procedures.command import procedure_script

main = procedure_script("find_batch_size")

if __name__ == "__main__":
    main()
