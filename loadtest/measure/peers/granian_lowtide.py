"""What granian serves in the row granian-lowtide: the application, with heap given back after large requests."""

from config.wsgi import application as plain

from lowtide.wsgi import give_back

application = give_back(plain)
