"""What is loaded before the fork is made immortal where Python can, and left as it is elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("immortal_objects.py")


def expected(can_be: bool) -> dict[str, object]:
    return {
        "can be": can_be,
        "some were made": can_be,
        "immortal": [can_be] * 6,
        "what came later": False,
        "closed": 1,
        "a second time": False,
        "a child copies less": can_be,
    }


def test_objects_become_immortal_from_python_3_12_on() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.read_text()], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == expected(sys.version_info >= (3, 12))
