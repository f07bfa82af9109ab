"""`python -m seg_perception` is the `seg_perception` command."""

from seg_perception.cli import main

main()
