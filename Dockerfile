# A container with everything that `pip install glip-lightning[all]` installs, from this checkout. Untried: the project's
# own machines have no Docker.
#
#   docker build -t glip-lightning .
#   docker run --gpus all --shm-size 8g -v "$PWD:/work" glip-lightning predict photo.jpg --phrases "raccoon. dog"
FROM python:3.12-slim

# Another package index, for `--build-arg PIP_INDEX_URL=...`; pip takes an empty one for none.
ARG PIP_INDEX_URL=

# Layers that change seldom come first: the 6 GB of PyTorch and the others stay when only the code changes.
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir -c /tmp/constraints.txt torch torchvision
COPY . /tmp/glip-lightning
RUN pip install --no-cache-dir -c /tmp/constraints.txt "/tmp/glip-lightning[all]" && rm -rf /tmp/glip-lightning

WORKDIR /work
ENTRYPOINT ["glip"]
CMD ["--help"]
