"""What a study says: tables in, findings out. One rule a file; no Hydra, no torch.

tables = tables_of(load_study("outputs/studies/demo"))
for finding in find_all(rejudge(tables, "val/loss", "min")):
    print(finding.severity, finding.rule, finding.message)
"""

from playbook.analysis.finding import Finding, Remedy
from playbook.analysis.rejudge import rejudge
from playbook.analysis.rules import find_all
from playbook.analysis.tables import Tables, tables_of

__all__ = ["Finding", "Remedy", "Tables", "find_all", "rejudge", "tables_of"]
