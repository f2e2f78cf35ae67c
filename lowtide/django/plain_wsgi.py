"""The WSGI callable of a project that has no wsgi.py."""

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
