"""What uWSGI loads: `module = config.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

from config.preload import load_all

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

# Before the fork, so that all workers share the pages: what the first requests would load, each worker for itself.
load_all()
