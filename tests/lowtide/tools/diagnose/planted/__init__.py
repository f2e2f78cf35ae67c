"""One planted WSGI application for each verdict. They live here and nowhere else."""
