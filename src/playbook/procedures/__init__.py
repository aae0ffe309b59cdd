"""What an expert does between studies, a command each: a designed study, and a way to read it.

A procedure runs its trials through the study engine, so that they are recorded, resume after a kill and run on any
launcher. It ends with one answer in words with its uncertainty, the evidence as pictures, and what to type next.
"""

from playbook.procedures.compare import compare
from playbook.procedures.diagnose_stability import diagnose_stability
from playbook.procedures.sequential_test import look, looks

__all__ = ["compare", "diagnose_stability", "look", "looks"]
