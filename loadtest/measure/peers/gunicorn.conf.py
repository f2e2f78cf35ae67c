"""gunicorn as `make compare` runs it: `gunicorn -c loadtest/measure/peers/gunicorn.conf.py`.

First come the settings that all rows need to serve in uWSGI's place, then those of the row that PEER names: default,
recycle or lowtide. Settings that are not named here are gunicorn's defaults.
"""

import os

peer = os.environ["PEER"]

# nginx is in front, as gunicorn's documentation wants it, and reaches it over a unix socket.
bind = f"unix:{os.environ['RUN_DIR']}/small.sock"
workers = int(os.environ["WORKERS"])
chdir = os.environ["APP_DIR"]
wsgi_app = os.environ["WSGI_CALLABLE"]
# By default every gunicorn of a user has the same control socket: this one would take it from another that runs
# already.
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
