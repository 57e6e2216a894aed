"""Whatever the OpenAPI document allows and forbids is asked of a server, which must answer as it says."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.serve.conftest import started

schemathesis = pytest.importorskip("schemathesis")
OPERATIONS = {"/predict": "POST", "/model": "GET", "/healthz": "GET", "/metrics": "GET"}


@pytest.fixture(scope="module")
def document(toy_bundle):
    with started(toy_bundle) as server:
        yield schemathesis.openapi.from_url(f"{server.address}openapi.json")
        assert server.stop() == 0
        assert not any("Traceback" in line for line in server.errors)


def test_all_operations_are_asked(document):
    found = {
        operation.ok().path: operation.ok().method.upper() for operation in document.get_all_operations()
    }
    assert found == OPERATIONS


# The others take nothing, so that nothing can be wrong.
@pytest.mark.parametrize(
    ("path", "kind"), [*((path, "positive") for path in OPERATIONS), ("/predict", "negative")]
)
def test_the_server_does_as_its_document_says(document, path, kind):
    operation = document[path][OPERATIONS[path]]

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(schemathesis.GenerationMode(kind)))
    def ask(case):
        # No schema can say that bytes must be an image, so that refusing others is no contradiction.
        case.call_and_validate(excluded_checks=[schemathesis.checks.positive_data_acceptance], timeout=30)

    ask()
