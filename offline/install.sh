#!/bin/sh
# Install clinprompt from this folder, without a package index. README.txt says how.
set -eu
bundle=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none
}

for name in bundle.json install.py SHA256SUMS; do
  [ -f "$bundle/$name" ] || fail "$bundle/$name is missing; copy it again from the original bundle"
done
wanted=$(sed -n 's/^ *"python": "\([0-9.]*\)",*$/\1/p' "$bundle/bundle.json")
[ -n "$wanted" ] || fail "$bundle/bundle.json is damaged; copy it again from the original bundle"

if [ -n "${PYTHON:-}" ]; then
  found=$(version_of "$PYTHON")
  [ "$found" = "$wanted" ] && exec "$PYTHON" "$bundle/install.py" "$@"
  fail "this bundle is for Python $wanted, but PYTHON=$PYTHON is version $found;" \
    "set PYTHON to Python $wanted, or make another bundle with BUNDLE_PYTHON=$found"
fi
for python in python3 python "python$wanted"; do
  [ "$(version_of "$python")" = "$wanted" ] && exec "$python" "$bundle/install.py" "$@"
done
fail "this bundle is for Python $wanted, but python3 is version $(version_of python3);" \
  "set PYTHON=/path/to/python$wanted, or make another bundle with BUNDLE_PYTHON=$(version_of python3)"
