"""What uvicorn serves: Django's ASGI application, in the row uvicorn-lowtide with heap given back."""

import os

from django.core.asgi import get_asgi_application

from lowtide.application import read
from lowtide.asgi import Application, give_back

described = read()
# It chooses the settings, answers the requests of the preload, and says where the application writes.
described.load(described.server)
application: Application = get_asgi_application()
if os.environ["PEER"] == "uvicorn-lowtide":
    application = give_back(application)
