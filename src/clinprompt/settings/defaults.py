"""Defaults that commands and Python functions share. Imports nothing, so that help is instant."""

DEFAULT_BACKBONE = "smollm2-135m"
SHIPPED = "shipped"  # names the metaprompt in the package
SHOTS = 64  # training examples of adapt
TEST_ROWS = 200  # test rows of evaluate, at most
NOTE_CHARACTERS = 200_000  # of a note that is answered, at most
NOTES_PER_CHUNK = 256  # written at a time by a batch
FEW_ROWS = 10  # with fewer test rows, a score says so
SHADOWS = 16  # prompts that an audit trains
