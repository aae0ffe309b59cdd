"""What a model is asked to do. A fork's own task subclasses `Task`; an option in `conf/task/` names the class."""

from playbook.tasks.base import Task, TaskMetrics
from playbook.tasks.classification import Classification, ClassificationMetrics
from playbook.tasks.language_modelling import LanguageModelling, LanguageModellingMetrics
from playbook.tasks.multilabel import Multilabel, MultilabelMetrics
from playbook.tasks.reconstruction import Reconstruction, ReconstructionMetrics
from playbook.tasks.regression import Regression, RegressionMetrics

__all__ = [
    "Classification",
    "ClassificationMetrics",
    "LanguageModelling",
    "LanguageModellingMetrics",
    "Multilabel",
    "MultilabelMetrics",
    "Reconstruction",
    "ReconstructionMetrics",
    "Regression",
    "RegressionMetrics",
    "Task",
    "TaskMetrics",
]
