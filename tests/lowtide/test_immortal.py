"""What is loaded before the fork is made immortal where Python can, and left as it is elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

from tests import immortal_objects


def test_objects_become_immortal_from_python_3_12_on() -> None:
    script = Path(immortal_objects.__file__).read_text()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == immortal_objects.expected(sys.version_info >= (3, 12))
