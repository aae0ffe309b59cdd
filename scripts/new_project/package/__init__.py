"""Our own models, data and tasks. `conf/project.yaml` names this package, so that a `_target_` may name its classes."""
