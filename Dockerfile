# pare-tune with Ray, for all nodes of a cluster: one image for head, workers and the search itself.
#
#   Command:  docker build -t pare-tune:0.1.0 .
#   Expect:   PyTorch with CUDA from PyPI, which is most of the image; for nodes without GPUs, a fraction of it with
#             docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu -t pare-tune:0.1.0-cpu .
FROM python:3.11-slim
ARG TORCH_INDEX=https://pypi.org/simple
# KubeRay's probes ask with wget.
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home ray
WORKDIR /home/ray
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple \
    "torch>=2.6,<2.15" "torchvision>=0.21,<0.30"
COPY pyproject.toml README.md LICENSE /src/
COPY pare_tune /src/pare_tune
COPY search_spaces /src/search_spaces
RUN pip install --no-cache-dir /src && rm -rf /src
USER ray
CMD ["pare-tune", "--help"]
