"""What an expert does between studies, a command each: a designed study, and a way to read it.

A procedure runs its trials through the study engine, so that they are recorded, resume after a kill and run on any
launcher. It ends with one answer in words with its uncertainty, the evidence as pictures, and what to type next.
"""

from playbook.procedures.compare import compare
from playbook.procedures.cooldowns import cooldowns
from playbook.procedures.critical_batch_size import critical_batch_size
from playbook.procedures.diagnose_stability import diagnose_stability
from playbook.procedures.evaluate import evaluate
from playbook.procedures.find_batch_size import find_batch_size
from playbook.procedures.find_max_steps import find_max_steps
from playbook.procedures.next_round import next_round
from playbook.procedures.sequential_test import look, looks

__all__ = [
    "compare",
    "cooldowns",
    "critical_batch_size",
    "diagnose_stability",
    "evaluate",
    "find_batch_size",
    "find_max_steps",
    "look",
    "looks",
    "next_round",
]
