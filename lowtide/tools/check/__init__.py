"""`lowtide check`: what uWSGI makes of a uwsgi.ini, and what that does to memory and to restarts."""
