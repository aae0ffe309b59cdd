"""How a job ended whose process cannot say it any more."""

from __future__ import annotations

from hydra.core.utils import JobReturn, JobStatus


def died(error: BaseException) -> JobReturn:
    """The end of a job whose process was killed, or could not be begun; `error` is what the launcher knows of it."""
    return JobReturn(status=JobStatus.FAILED, _return_value=error)
