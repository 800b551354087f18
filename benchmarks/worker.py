"""One measurement in a fresh process: ``python -m benchmarks.worker MODULE FUNCTION ARGUMENTS SCALE`` writes JSON.

ARGUMENTS is a JSON list; the scale comes after them. The last line of the output is a list of samples, or an object
that says why there are none.
"""

from __future__ import annotations

import importlib
import json
import sys

from .sampling import CannotMeasureError


def main() -> None:
    """Run the function named on the command line."""
    module, function, arguments, scale = sys.argv[1:]
    try:
        answer = getattr(importlib.import_module(module), function)(*json.loads(arguments), float(scale))
    except ModuleNotFoundError as error:
        answer = {"missing": f"{error.name} is not installed"}
    except CannotMeasureError as error:
        answer = {"missing": str(error)}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
