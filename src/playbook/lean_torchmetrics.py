"""Imports torchmetrics without `scipy.signal`, which takes as long as a fifth of all that a trial imports.

torchmetrics 1.9 imports it for nothing of its own: it gives it back a name, `hamming`, that another library misses.
While torchmetrics is imported, an empty module that has the name stands in. Lightning imports torchmetrics too: this
module comes before both, in the rooms that use them. An upgrade that needs more of `scipy.signal` fails here at once.
"""

import sys
from types import ModuleType

if "torchmetrics" not in sys.modules and "scipy.signal" not in sys.modules:
    stand_in = ModuleType("scipy.signal")
    stand_in.hamming = None  # type: ignore[attr-defined]
    sys.modules["scipy.signal"] = stand_in
    try:
        import torchmetrics  # noqa: F401
    finally:
        del sys.modules["scipy.signal"]
