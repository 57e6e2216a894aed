"""A bundle as a service on HTTP: one process on ONNX Runtime alone, and a page for pictures and cameras.

Nothing is imported here, so that the command line starts without FastAPI.
"""
