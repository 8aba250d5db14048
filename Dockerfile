# syntax=docker/dockerfile:1
# codecsieve in a container.
#
#   docker build -t codecsieve .                                  for machines with NVIDIA GPUs
#   docker build -t codecsieve:cpu --build-arg VARIANT=cpu .      for all others, without torch and CUDA
#
#   docker run --rm --gpus all -v /data:/data codecsieve precompute /data/videos --out /data/cache
#   docker run --rm -v codecsieve:/data codecsieve serve --data /data keys add me      once: it serves nobody without a key
#   docker run --read-only --tmpfs /tmp -p 8000:8000 -v codecsieve:/data -v /videos:/videos:ro codecsieve
#
# The files of /data must be the container's user's (1000) to write: add --user "$(id -u):$(id -g)" where yours differs.
# Nothing else is written but /tmp. compose.yaml has all this, with metrics and their pictures.
ARG VARIANT=cuda

# CUDA's libraries come with the Python packages: the base image brings what the driver's own need. Triton compiles a few
# lines of C when its first kernel is launched.
FROM nvidia/cuda:13.0.2-base-ubuntu24.04 AS cuda
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv python3-dev gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*

FROM python:3.12-slim AS cpu

FROM ${VARIANT} AS build
WORKDIR /src
# The packages first: they change less often than the sources, and are most of the image. Each is held to its hash.
ARG VARIANT
COPY deploy/image-${VARIANT}.txt ./
RUN python3 -m venv /opt/codecsieve \
 && /opt/codecsieve/bin/pip install --no-cache-dir --require-hashes -r image-${VARIANT}.txt
COPY . .
RUN /opt/codecsieve/bin/pip install --no-cache-dir --no-deps .

FROM ${VARIANT}
COPY --from=build /opt/codecsieve /opt/codecsieve
# `video` is what makes the driver's decoder libraries visible in the container.
ENV PATH=/opt/codecsieve/bin:$PATH \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    HOME=/data \
    NUMBA_CACHE_DIR=/data/kernels
RUN mkdir -p /data /videos /caches && chown 1000:1000 /data /caches
# A number, so that Kubernetes can tell that it is not root.
USER 1000:1000
WORKDIR /data
# A new volume begins with what the image has there: kernels, so that the first start compiles none. Where they are
# for another kind of processor, or /data is a folder of the host's, they are compiled then.
RUN python3 -c 'from codecsieve.pipelines.sieve.warm import warm_up; warm_up()'
VOLUME /data
EXPOSE 8000
# Not by urllib, which would ask a proxy where the environment names one.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["python3", "-c", \
    "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); \
raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["codecsieve"]
CMD ["serve", "--host", "0.0.0.0", "--data", "/data", "--root", "videos=/videos", "--root", "caches=/caches"]
