# CPU image, run as a user without rights:
#   docker build -t gauntlet-drive .
#   docker run --rm -v gauntlet-runs:/data/runs gauntlet-drive                 trains an ego, as `make train` does
#   docker run --rm -v gauntlet-runs:/data/runs gauntlet-drive attack --scenes 4
# PyPI's torch for Linux brings CUDA along (gigabytes); PyTorch's own index has it for CPUs alone.
# To use PyPI only: docker build --build-arg TORCH_INDEX=https://pypi.org/simple -t gauntlet-drive .
FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/gauntlet
WORKDIR /src
COPY constraints.txt ./
RUN /opt/gauntlet/bin/pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
COPY . .
RUN /opt/gauntlet/bin/pip install -c constraints.txt .

FROM python:3.11-slim-bookworm
# What OpenCV links.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 gauntlet \
    && install --directory --owner gauntlet --group gauntlet /data /data/runs
COPY --from=build /opt/gauntlet /opt/gauntlet
ENV PATH=/opt/gauntlet/bin:$PATH
USER 1000
WORKDIR /data
ENTRYPOINT ["gauntlet"]
CMD ["train_ego", "best", "--train-scenes", "64", "--val-scenes", "16", "--test-scenes", "16", "--steps", "1_500_000"]
