"""gunicorn as `make compare` runs it: `gunicorn -c loadtest/measure/peers/gunicorn.conf.py`.

What all rows need to stand in for uWSGI here, then what PEER names: default, recycle or lowtide. What is not named here
is as gunicorn has it.
"""

import os

peer = os.environ["PEER"]

# nginx is in front, as gunicorn's documentation wants it, and reaches it over a unix socket.
bind = f"unix:{os.environ['RUN_DIR']}/small.sock"
workers = int(os.environ["WORKERS"])
chdir = os.environ["APP_DIR"]
wsgi_app = os.environ["WSGI_CALLABLE"]
# By default one for each user of the machine: a gunicorn that is up already would lose it.
control_socket = f"{os.environ['RUN_DIR']}/gunicorn.ctl"

if peer in ("recycle", "lowtide"):
    # Workers fork from a master that has loaded the application: they share its pages, and a new one starts at once.
    preload_app = True

if peer == "recycle":
    # gunicorn's remedy for memory that grows: a worker leaves after this many requests. Low, because one request in a
    # hundred is large and inflates it; with preload_app that is cheap.
    max_requests = 100
    # Up to so many more, drawn for each worker, or all four would leave together.
    max_requests_jitter = 50

if peer == "lowtide":
    from lowtide.gunicorn import give_back

    post_worker_init = give_back
