# One image for all containers. TORCH=cuda includes CUDA (about 5 GB), TORCH=cpu does not.
# `deploy/image/pin` prints the digest of the base image, for PYTHON=3.11.13-slim-bookworm@sha256:...
ARG PYTHON=3.11.13-slim-bookworm

FROM python:${PYTHON} AS dependencies
ARG TORCH=cuda
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY requirements/uv.txt requirements/production*.txt requirements/torch-cpu.txt requirements/install-torch-cpu requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/uv.txt
RUN uv venv /opt/triage \
 && case "$TORCH" in \
      cuda) uv pip install --python /opt/triage/bin/python --require-hashes -r requirements/production.txt ;; \
      cpu)  uv pip install --python /opt/triage/bin/python --require-hashes --no-deps -r requirements/production-without-torch.txt \
         && requirements/install-torch-cpu /opt/triage/bin/python ;; \
      *)    echo "invalid TORCH: use cuda or cpu" >&2; exit 2 ;; \
    esac
# the product's extras that the image lacks, such as EXTRAS="s3 parquet": those of requirements/extras
ARG EXTRAS=""
COPY requirements/extras/ requirements/extras/
RUN for extra in $EXTRAS; do \
      test -f "requirements/extras/$extra.txt" || { echo "invalid EXTRAS: $extra: use mlflow, onnx, parquet or s3" >&2; exit 2; }; \
      uv pip install --python /opt/triage/bin/python --require-hashes --no-deps -r "requirements/extras/$extra.txt" || exit 1; \
    done


# WITHOUT="pillow-heif pillow-jxl-plugin" leaves out one or both: docs/decisions/0015-choose-one-decoder-for-each-format.md
FROM dependencies AS pruned
ARG WITHOUT=""
COPY deploy/image/prune deploy/image/
RUN for package in $WITHOUT; do \
      case "$package" in \
        pillow-heif|pillow-jxl-plugin) uv pip uninstall --python /opt/triage/bin/python "$package" || exit 1 ;; \
        *) echo "invalid WITHOUT: $package: use pillow-heif or pillow-jxl-plugin" >&2; exit 2 ;; \
      esac; \
    done \
 && deploy/image/prune /opt/triage


# The product's own files, in /product: an upgrade without new packages changes only the last layers.
FROM dependencies AS product
COPY LICENSE README.md pyproject.toml ./
COPY requirements/dev.txt requirements/
COPY migrations/ migrations/
COPY triage/ triage/
COPY worker/ worker/
RUN uv build --wheel --out-dir /dist --build-constraints requirements/dev.txt --require-hashes \
 && uv pip install --python /opt/triage/bin/python --no-deps /dist/*.whl \
 && uv pip check --python /opt/triage/bin/python \
 && mkdir /product && cd /opt/triage \
 && tar -c bin/triage lib/python*/site-packages/triage lib/python*/site-packages/worker \
      lib/python*/site-packages/skin_photo_triage-* | tar -x -C /product


# The user owns the mount points, so that a new volume mounted there has the same owner.
FROM python:${PYTHON} AS packages
RUN pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
 && groupadd --gid 10001 triage \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin triage \
 && install -d -o triage -g triage /srv/triage /srv/triage/blobs /srv/triage/models /srv/triage/runs /srv/triage/exchange \
      /srv/triage/output
COPY --from=pruned /opt/triage /opt/triage
ENV PATH=/opt/triage/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    TRIAGE_HOME=/srv/triage MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /srv/triage


# The same files as in the image, and a check that fails the build.
FROM packages AS checked
ARG EXTRAS=""
COPY --from=product /product /opt/triage
COPY LICENSE THIRD-PARTY-NOTICES.md /usr/share/doc/skin-photo-triage/
COPY deploy/image/licenses/ /usr/share/doc/skin-photo-triage/licenses/
COPY deploy/image/check.py /
RUN python /check.py $EXTRAS


FROM packages
COPY --from=product /product /opt/triage
# a builder runs only the stages that this one copies from
COPY --from=checked /usr/share/doc/skin-photo-triage /usr/share/doc/skin-photo-triage

ARG REVISION=unknown
LABEL org.opencontainers.image.title="skin-photo-triage" \
      org.opencontainers.image.description="Scores the quality of the skin photos in patients' messages" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
ENTRYPOINT ["triage"]
CMD ["--help"]
