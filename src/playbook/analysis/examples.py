"""The values of validation examples, as the rules read them: `playbook.examples` has them from the files."""

from playbook.examples import Examples

__all__ = ["Examples"]
