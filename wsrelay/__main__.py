"""`python -m wsrelay`: the command line."""

from wsrelay.cli import main

main()
