# The image in which a docker or kubernetes work pool runs each flow run, and `relocation setup` with it.
# It holds the code and its locked dependencies; no block, no key and no setting.
FROM python:3.11-slim

WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE prefect.yaml automations.yaml ./
COPY flows flows
COPY tasks tasks
COPY relocation relocation
COPY templates templates
COPY pools pools
COPY deploy deploy
# Editable: the runs use the code of /app, with prefect.yaml and automations.yaml beside it.
RUN pip install --no-cache-dir hatchling editables \
    && pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && useradd --create-home relocation

# Scratch databases of an SQLite destination, and nothing that must last.
ENV RELOCATION_HOME=/home/relocation/data
USER relocation
CMD ["relocation", "--help"]
