# syntax=docker/dockerfile:1
# codecsieve in a container.
#
#   docker build -t codecsieve .                                  for machines with NVIDIA GPUs
#   docker build -t codecsieve:cpu --build-arg VARIANT=cpu .      for all others, without torch and CUDA
#
#   docker run --rm --gpus all -v /data:/data codecsieve precompute /data/videos --out /data/cache
#
# The files of /data must be the container's user's (1000) to write: add --user "$(id -u):$(id -g)" where yours differs.
ARG VARIANT=cuda

# CUDA's libraries come with the Python packages: the base image brings what the driver's own need. Triton compiles a few
# lines of C when its first kernel is launched.
FROM nvidia/cuda:13.0.2-base-ubuntu24.04 AS cuda
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv python3-dev gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
ENV EXTRAS=gpu,transcode

FROM python:3.12-slim AS cpu
ENV EXTRAS=transcode

FROM ${VARIANT} AS build
WORKDIR /src
# The packages first: they change less often than the sources, and are most of the image.
COPY pyproject.toml constraints.txt ./
RUN python3 -m venv /opt/codecsieve \
 && /opt/codecsieve/bin/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print('\n'.join(p['dependencies'] + sum((p['optional-dependencies'][e] for e in '${EXTRAS}'.split(',')), [])))" \
    > /tmp/packages.txt \
 && /opt/codecsieve/bin/pip install --no-cache-dir -c constraints.txt -r /tmp/packages.txt
COPY . .
RUN /opt/codecsieve/bin/pip install --no-cache-dir --no-deps .

FROM ${VARIANT}
COPY --from=build /opt/codecsieve /opt/codecsieve
# `video` is what makes the driver's decoder libraries visible in the container.
ENV PATH=/opt/codecsieve/bin:$PATH \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    HOME=/tmp
# A number, so that Kubernetes can tell that it is not root; HOME takes the compiled kernels.
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["codecsieve"]
CMD ["--help"]
