"""`lowtide check`: says how uWSGI reads a uwsgi.ini, and what that does to memory and to restarts."""
