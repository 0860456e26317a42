# controlwindow on a CPU: docs/howto/install.md says how to build and run it.
FROM python:3.12-slim

# Where pip looks beside its index, such as PyTorch's index of CPU wheels.
ARG PIP_EXTRA_INDEX_URL=""

WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src ./src
COPY docs ./docs
RUN pip install --no-cache-dir --constraint constraints.txt '.[gguf]'

RUN useradd --create-home auditor && mkdir /audit && chown auditor /audit
USER auditor
WORKDIR /audit
ENV CONTROLWINDOW_CACHE=/audit/.cache
ENTRYPOINT ["controlwindow"]
CMD ["--help"]
