"""Several machines on Dask: connection and checks, many small tasks, one training over all workers.

Dask does the scheduling. What is up to date is decided, and locks are held, where the command runs.
"""
