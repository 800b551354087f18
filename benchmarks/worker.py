"""One measurement in a fresh process: ``python -m benchmarks.worker MODULE FUNCTION SCALE`` writes JSON.

The last line of the output is a list of samples, or an object that says why there are none.
"""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    """Run the function named on the command line."""
    module, function, scale = sys.argv[1:]
    try:
        side = importlib.import_module(module)
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": f"{error.name} is not installed"}))
        return
    print(json.dumps(getattr(side, function)(float(scale))), flush=True)


if __name__ == "__main__":
    main()
