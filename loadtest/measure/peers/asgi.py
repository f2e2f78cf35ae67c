"""What uvicorn's workers serve: Django's ASGI application."""

from django.core.asgi import get_asgi_application

from lowtide.application import read

described = read()
# It chooses the settings, answers the requests of the preload, and says where the application writes.
described.load(described.server)
application = get_asgi_application()
