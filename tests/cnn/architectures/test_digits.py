from cnnboost.cnn.architectures import build


def test_parameters_are_those_of_the_docstring():
    assert build("digits", (48, 48, 1), 7).count_params() == 2_380_487
    assert build("digits", (8, 8, 1), 10).count_params() == 86_826
