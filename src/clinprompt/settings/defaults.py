"""Defaults that commands and Python functions share. Imports nothing, so that help is instant."""

DEFAULT_BACKBONE = "smollm2-135m"
SHIPPED = "shipped"  # names the metaprompt in the package
SHOTS = 64  # training examples of adapt
TEST_ROWS = 200  # test rows of evaluate, at most
FEW_ROWS = 10  # with fewer test rows, a score says so
