"""`python -m cnnboost` is the command line."""

from cnnboost.cli import main

if __name__ == "__main__":
    main()
