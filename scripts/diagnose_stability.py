"""Does instability limit the learning rate, where does it begin, and what mends it? (E5 to E8)

python scripts/diagnose_stability.py model=mlp model.residual=true model.depth=12 mend=true
"""

from playbook.procedures.command import procedure_script

main = procedure_script("diagnose_stability")

if __name__ == "__main__":
    main()
