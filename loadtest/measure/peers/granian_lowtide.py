"""What granian serves in the row granian-lowtide: the application, with heap given back after large requests."""

from lowtide.application import read
from lowtide.wsgi import give_back

described = read()
application = give_back(described.load(described.server))
