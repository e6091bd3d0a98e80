"""Train one cell or, with -m, a sweep: the same as `hideseek train`."""

from hideseek.__main__ import main

main(["train"])
