"""`python -m agents.chaostoolkit > discovery.json`: what `chaos init` makes experiments from.

`chaos discover` would write it, but it looks for packages by the one module that a distribution
installs, and Conclave's installs several.

What this module does not know: what is discovered.
"""

import json
import sys

from agents.chaostoolkit import discover

if __name__ == "__main__":
    json.dump(discover(), sys.stdout, indent=2)
    sys.stdout.write("\n")
