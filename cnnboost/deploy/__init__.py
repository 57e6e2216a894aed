"""hybrid -> files that run without TensorFlow: bundle, ONNX graphs, predictor.

Nothing is imported here, so that `cnnboost.deploy.predictor` loads ONNX Runtime alone.
"""
