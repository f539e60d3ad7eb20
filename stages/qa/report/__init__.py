import os
from importlib.util import find_spec

# A notebook sets MPLBACKEND for all commands that it starts. matplotlib cannot be imported where that module is not
# installed. The figures need no backend.
backend = os.environ.get("MPLBACKEND", "")
package = backend.removeprefix("module://").partition(".")[0]
if backend.startswith("module://") and find_spec(package) is None:
    del os.environ["MPLBACKEND"]
