# AstroAnomaly on a CPU, with the labelling app on a small simulated sky. docs/install.md says how to use it.
FROM python:3.12-slim

ENV HOME=/home/astro PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# torch without CUDA, and torchvision that goes with it: a layer of its own, which a change of the code leaves as it is
# hadolint ignore=DL3013
RUN pip install --index-url https://download.pytorch.org/whl/cpu torch torchvision

COPY . /src
RUN pip install '/src[fast,parquet]' && rm -rf /src

# any user may work in the home folder, so that `docker run --user` can name the owner of mounted files
RUN useradd --uid 1000 --create-home --home-dir "$HOME" astro && chmod 0777 "$HOME"
USER 1000
WORKDIR /home/astro
RUN astroanomaly demo

EXPOSE 5006
CMD ["astroanomaly", "serve", "astroanomaly-demo/session", "--no-browser", "--annotator", "visitor", "--address", "0.0.0.0", \
     "--allow-websocket-origin", "localhost:5006", "--allow-websocket-origin", "127.0.0.1:5006"]
