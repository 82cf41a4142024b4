"""`python -m everglade.cli` is the same as `everglade`."""

from everglade.cli import main

main()
