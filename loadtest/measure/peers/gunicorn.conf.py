"""gunicorn as `make compare` runs it: `gunicorn -c loadtest/measure/peers/gunicorn.conf.py`.

First come the settings that all rows need to serve in uWSGI's place, then those of the row that PEER names. Settings
that are not named here are gunicorn's defaults. Each row's `source` in loadtest/measure/variants.py documents them.
"""

import os

peer = os.environ["PEER"]
# In the row gunicorn-pools: small or large.
pool = os.environ.get("POOL", "small")

# nginx is in front, as gunicorn's documentation wants it, and reaches it over a unix socket.
bind = f"unix:{os.environ['RUN_DIR']}/{pool}.sock"
workers = int(os.environ["WORKERS"])
chdir = os.environ["APP_DIR"]
wsgi_app = os.environ["WSGI_CALLABLE"]
# By default every gunicorn of a user has the same control socket: this one would take it from another that runs
# already.
control_socket = f"{os.environ['RUN_DIR']}/gunicorn-{pool}.ctl"

if peer != "gunicorn":
    # Workers fork from a master that has loaded the application: they share its pages, and a new one starts at once.
    preload_app = True

if peer in ("gunicorn-recycle", "gunicorn-threads", "uvicorn"):
    # gunicorn's remedy for memory that grows: a worker leaves after this many requests. Low, because one request in a
    # hundred is large and inflates it; with preload_app that is cheap.
    max_requests = 100
    # Each worker adds a random number up to this one, because otherwise all four would leave together.
    max_requests_jitter = 50

if peer == "gunicorn-threads":
    # The least that the documentation advises for two processors: 2 to 4 for each.
    threads = 4

if peer == "gunicorn-pools":
    protocol = "uwsgi"
    large_workers = int(os.environ["LARGE_WORKERS"])
    workers = large_workers if pool == "large" else workers - large_workers
    # A worker for large requests gives all back by leaving after each. What small requests leave grows slowly.
    max_requests, max_requests_jitter = (1, 0) if pool == "large" else (1000, 100)

if peer.startswith("uvicorn"):
    worker_class = "uvicorn_worker.UvicornWorker"
    wsgi_app = "loadtest.measure.peers.asgi:application"

if peer.endswith("-lowtide"):
    from lowtide.gunicorn import give_back

    post_worker_init = give_back
