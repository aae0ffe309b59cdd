"""How long is worth it? `python scripts/cooldowns.py run_dir=<a run at a constant rate that kept commits>`."""

from playbook.procedures.command import procedure_script

main = procedure_script("cooldowns")

if __name__ == "__main__":
    main()
