"""The WSGI application that the server loads (`wsgi` in lowtide.toml)."""

import os

from django.core.wsgi import get_wsgi_application

from lowtide.django.guard import readable
from lowtide.django.preload import preload

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = readable(get_wsgi_application())

preload(application)
