# One image for all containers. TORCH=cuda includes CUDA (about 5 GB), TORCH=cpu does not.
# `deploy/image/pin` prints the digest of the base image, for PYTHON=3.11.13-slim-bookworm@sha256:...
ARG PYTHON=3.11.13-slim-bookworm

FROM python:${PYTHON} AS dependencies
ARG TORCH=cuda
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY requirements/ requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/uv.txt
RUN uv venv /opt/triage \
 && case "$TORCH" in \
      cuda) uv pip install --python /opt/triage/bin/python --require-hashes -r requirements/production.txt ;; \
      cpu)  uv pip install --python /opt/triage/bin/python --require-hashes --no-deps -r requirements/production-without-torch.txt \
         && requirements/install-torch-cpu /opt/triage/bin/python ;; \
      *)    echo "invalid TORCH: use cuda or cpu" >&2; exit 2 ;; \
    esac


FROM dependencies AS pruned
COPY deploy/image/prune deploy/image/
RUN deploy/image/prune /opt/triage


# The product's own files, in /product: an upgrade without new packages changes only the last layers.
FROM dependencies AS product
COPY LICENSE README.md pyproject.toml ./
COPY migrations/ migrations/
COPY triage/ triage/
COPY worker/ worker/
RUN uv build --wheel --out-dir /dist --build-constraints requirements/dev.txt --require-hashes \
 && uv pip install --python /opt/triage/bin/python --no-deps /dist/*.whl \
 && uv pip check --python /opt/triage/bin/python \
 && mkdir /product && cd /opt/triage \
 && tar -c bin/triage lib/python*/site-packages/triage lib/python*/site-packages/worker \
      lib/python*/site-packages/skin_photo_triage-* | tar -x -C /product


FROM python:${PYTHON}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="skin-photo-triage" \
      org.opencontainers.image.description="Scores the quality of the skin photos in patients' messages" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"

# The user owns the mount points, so that a new volume mounted there has the same owner.
RUN pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
 && groupadd --gid 10001 triage \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin triage \
 && install -d -o triage -g triage /srv/triage /srv/triage/blobs /srv/triage/models /srv/triage/runs /srv/triage/exchange \
      /srv/triage/output
COPY --from=pruned /opt/triage /opt/triage
COPY --from=product /product /opt/triage
COPY LICENSE THIRD-PARTY-NOTICES.md /usr/share/doc/skin-photo-triage/

ENV PATH=/opt/triage/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    TRIAGE_HOME=/srv/triage MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /srv/triage
ENTRYPOINT ["triage"]
CMD ["--help"]
