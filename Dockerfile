# The image in which a docker or kubernetes work pool runs each flow run, and `relocation setup` with it.
# It holds the code and its locked dependencies; no block, no key and no setting.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
RUN python3 -m venv /app/.venv
COPY requirements.lock /app/
RUN /app/.venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /app/requirements.lock
WORKDIR /app
COPY pyproject.toml README.md LICENSE prefect.yaml automations.yaml ./
COPY flows flows
COPY tasks tasks
COPY relocation relocation
COPY templates templates
COPY pools pools
COPY deploy/with-secrets.sh deploy/
# Editable: the runs use the code of /app, with prefect.yaml and automations.yaml beside it.
RUN .venv/bin/pip install --no-cache-dir hatchling editables \
    && .venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && .venv/bin/pip uninstall --yes hatchling editables \
    && .venv/bin/python -m compileall -q flows tasks relocation
# What the block type of the storage needs, such as prefect-aws: docs/operations.md
ARG STORAGE=""
RUN [ -z "$STORAGE" ] || .venv/bin/pip install --no-cache-dir "$STORAGE"

FROM ${BASE}
RUN useradd --create-home --uid 1000 relocation \
    && install --directory --owner relocation /home/relocation/data
COPY --from=build /app /app
# Scratch databases of an SQLite destination, and nothing that must last.
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    RELOCATION_HOME=/home/relocation/data \
    PREFECT_HOME=/home/relocation/data/prefect
USER relocation
WORKDIR /app
CMD ["relocation", "--help"]
