"""A fault campaign: files of every kind that is read, damaged at random, one after the other.

`make fuzz SECONDS=600 SEED=1` runs it; `python -m tests.fuzz --kind zip --seed 1 --number 45` runs one input
of it again. No damaged file may end in a traceback, a crash, a hang, gigabytes of memory, or in a result that
differs where a checksum covers what was changed.
"""
