"""Up to which batch size do larger batches save steps? `python scripts/critical_batch_size.py`."""

from playbook.procedures.command import procedure_script

main = procedure_script("critical_batch_size")

if __name__ == "__main__":
    main()
