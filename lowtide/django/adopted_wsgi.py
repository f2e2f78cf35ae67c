"""What the server loads of an application that knows nothing of this stack (`settings` in lowtide.toml)."""

import os

from lowtide import application as description

_described = description.read()
os.environ.update(_described.environment)
_described.importable()
# A project may read files by paths relative to its manage.py.
os.chdir(_described.root)

from lowtide.django.guard import readable  # noqa: E402
from lowtide.django.preload import preload  # noqa: E402

application = readable(_described.load(_described.wsgi))

preload(application)
