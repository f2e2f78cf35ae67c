# Targets: app (uWSGI and Django), nginx, cache, locust, peers (what `make compare` measures beside uWSGI). Every stage starts from the same base.
# Dependencies have layers of their own below the code, so that a change of the code rebuilds in seconds.

# The version in the images' labels: a copy of the one in lowtide/__init__.py.
ARG VERSION=0.1.0

# The base of all stages, named once. `make images` pins it by digest, as it does the images in docker-compose.yml.
FROM debian:trixie-slim AS base

# Dependencies of the application, with the compilers that uWSGI and psycopg need.
FROM base AS compilers

RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates gcc libc6-dev libpcre2-dev libpq-dev python3-dev python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --without-pip /srv/venv
ENV PATH=/srv/venv/bin:$PATH

# uWSGI comes first, because it changes least and takes longest to build. The shipped environment does not contain pip.
COPY requirements/uwsgi.txt /tmp/
# By default uWSGI is a program that is linked with Debian's libpython, in which Python code takes 1.4 times as long as in Debian's
# python3 (docs/traps.md). The same sources also make a module for python3, with a setup.py of another name.
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir -p /tmp/uwsgi/source \
    && pip --python /srv/venv download --no-deps --no-binary uwsgi --require-hashes -r /tmp/uwsgi.txt --dest /tmp/uwsgi \
    && tar -xzf /tmp/uwsgi/uwsgi-*.tar.gz --strip-components 1 -C /tmp/uwsgi/source \
    && mv /tmp/uwsgi/source/setup.pyuwsgi.py /tmp/uwsgi/source/setup.py \
    && pip --python /srv/venv install /tmp/uwsgi/*.whl /tmp/uwsgi/source \
    && mv /srv/venv/bin/pyuwsgi /srv/venv/bin/uwsgi

# The Debian packages that app/lowtide.toml names. Of lowtide only what reads that file is copied, so what is made of these files only
# changes with the packages.
FROM compilers AS packages
WORKDIR /srv/lowtide
COPY lowtide/application.py lowtide/application_file.py lowtide/environment.py lowtide/
COPY app/lowtide.toml app/
RUN python3 -m lowtide.application packages >/srv/packages && python3 -m lowtide.application packages build >/srv/build-packages

FROM compilers AS build
COPY --from=packages /srv/build-packages /srv/
# hadolint ignore=SC2046
RUN [ ! -s /srv/build-packages ] || { apt-get update \
    && apt-get install --yes --no-install-recommends $(cat /srv/build-packages) \
    && rm -rf /var/lib/apt/lists/*; }

# With TELEMETRY=1 also the libraries that report to OpenTelemetry and Sentry (observe/telemetry.yml).
ARG TELEMETRY
COPY requirements/app.txt requirements/postgresql.txt requirements/telemetry.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /srv/venv install --require-hashes -r /tmp/app.txt ${TELEMETRY:+-r /tmp/telemetry.txt}
# psycopg's wheel has an OpenSSL and a Kerberos of its own, which take 4 MiB of memory beside Python's. So psycopg is compiled for
# Debian's libpq, where the application has the version that is locked for it.
RUN --mount=type=cache,target=/root/.cache/pip \
    ! grep -q "^$(grep -o '^psycopg==[^ ]*' /tmp/postgresql.txt) " /tmp/app.txt \
    || { pip --python /srv/venv install --require-hashes -r /tmp/postgresql.txt \
    && pip --python /srv/venv uninstall --yes psycopg-binary; }

# What the application's build commands make, such as static files, and nginx's configuration for it.
FROM build AS static

WORKDIR /srv/lowtide
COPY lowtide lowtide
COPY app app
ENV PYTHONPATH=/srv/lowtide STATIC_ROOT=/srv/static
# Some builds make no static files, and what npm has installed is needed for the build only.
# Debian's Python must be one that the application works with.
RUN mkdir /srv/static \
    && python -m lowtide.application python >/dev/null \
    && python -m lowtide.application build \
    && python -m lowtide.application nginx >/srv/application.conf \
    && find app /srv/venv -name node_modules -prune -exec rm -rf {} +

# The application.
FROM base AS app

RUN apt-get update \
    && apt-get install --yes --no-install-recommends libpq5 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 app \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin app \
    && install -d -o app -g app -m 770 /run/lowtide
COPY --from=packages /srv/packages /srv/
# hadolint ignore=SC2046
RUN [ ! -s /srv/packages ] || { apt-get update \
    && apt-get install --yes --no-install-recommends $(cat /srv/packages) \
    && rm -rf /var/lib/apt/lists/*; }
# Not from the stage "build": an application that is itself a package has its build write there, compiled translations for example.
COPY --from=static /srv/venv /srv/venv

WORKDIR /srv/lowtide
# nginx serves these files; Django reads their hashed names here.
COPY --from=static /srv/static /srv/static
COPY uwsgi.ini ./
COPY lowtide lowtide
COPY --from=static /srv/lowtide/app app
# The container's file system is read-only, so without this every start of Python would compile everything again.
RUN python3 -m compileall -q app lowtide

# Paths only. The defaults of .env.example's settings are in lowtide/defaults.py.
ENV PATH=/srv/venv/bin:$PATH \
    PYTHONPATH=/srv/lowtide \
    PYTHONUNBUFFERED=1 \
    RUN_DIR=/run/lowtide \
    STATIC_ROOT=/srv/static
USER 10001:10001
# On SIGTERM the server finishes the requests in flight and ends (uwsgi.ini).
STOPSIGNAL SIGTERM
# /healthz and not /readyz, because a database that is down must not make an orchestrator kill the application.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "lowtide.ping", "/healthz"]
# Checks the settings and then becomes uWSGI.
CMD ["python", "-m", "lowtide.start", "uwsgi", "--ini", "/srv/lowtide/uwsgi.ini"]

ARG VERSION
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Application" \
      org.opencontainers.image.description="Django on uWSGI, with memory that goes back down" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

# The application with the servers and allocators of `make compare`, which no service uses.
FROM build AS peers-build

COPY requirements/peers.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /srv/venv install --require-hashes -r /tmp/peers.txt

FROM app AS peers

USER 0:0
# The names of Debian's packages and libraries carry versions, which differ between releases.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends '^libjemalloc[0-9]+$' '^libmimalloc[0-9.]+$' \
    && rm -rf /var/lib/apt/lists/* \
    && for name in jemalloc mimalloc; do find /usr/lib -name "lib$name.so.*" -type f -exec ln -sf {} "/usr/local/lib/lib$name.so" \; ; done
COPY --from=peers-build /srv/venv /srv/venv
COPY loadtest/measure/peers loadtest/measure/peers
USER 10001:10001

# nginx, with the static files.
FROM base AS nginx

# nginx is in the application's group, which may open its sockets. It has a user of its own, so it can do nothing else there.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gettext-base nginx-light \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 app \
    && useradd --uid 10002 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nginx \
    && install -d -o 10001 -g 10001 -m 770 /run/lowtide
COPY nginx /srv/lowtide/nginx
COPY --from=static /srv/application.conf /srv/lowtide/nginx/
COPY --from=static /srv/static /srv/static

ENV RUN_DIR=/run/lowtide \
    STATIC_ROOT=/srv/static \
    LISTEN=8080 \
    TRUSTED_PROXY=127.0.0.1/32
USER 10002:10001
EXPOSE 8080
# On SIGQUIT nginx finishes the requests in flight; SIGTERM would cut them off.
STOPSIGNAL SIGQUIT
# Healthy is any answer below 500. A redirect or a refused host name also comes from the application, so it counts.
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /healthz HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n' >&3; read -r _ status _ <&3; [ \"$status\" -lt 500 ]"]
CMD ["/srv/lowtide/nginx/start"]

ARG VERSION
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nginx" \
      org.opencontainers.image.description="nginx in front of the application, with its static files" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

# A cache that workers share, for CACHE_URL.
FROM base AS cache

RUN apt-get update \
    && apt-get install --yes --no-install-recommends valkey-server valkey-tools \
    && rm -rf /var/lib/apt/lists/*
USER 10004:10004
EXPOSE 6379
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["valkey-cli", "ping"]
# Without --save nothing is written to disk, because a cache may be lost. At --maxmemory the entry that was not used for
# longest goes. Without protected mode it answers other containers; only the network keeps strangers out.
CMD ["valkey-server", "--save", "", "--maxmemory", "96mb", "--maxmemory-policy", "allkeys-lru", "--protected-mode", "no"]

# Locust, for load from several containers.
FROM base AS locust-build

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --without-pip /srv/venv
COPY requirements/locust.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /srv/venv install --require-hashes -r /tmp/locust.txt

FROM base AS locust

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=locust-build /srv/venv /srv/venv
WORKDIR /srv/lowtide
COPY lowtide lowtide
COPY loadtest loadtest
# The requests are described in app/lowtide.toml, and functions of the application make their bodies.
COPY app app
ENV PATH=/srv/venv/bin:$PATH \
    PYTHONPATH=/srv/lowtide \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10003:10003
EXPOSE 8089
ENTRYPOINT ["python", "-m", "lowtide.environment", "locust", "--locustfile", "/srv/lowtide/loadtest/load/locustfile.py"]
