#!/usr/bin/env bash
# Makes .venv-st5: sentence-transformers 5.0.0, the first version with sparse encoders, and the transformers 4 it needs.
#
# Everything else, torch above all, it takes from the environment that PYTHON belongs to, so it is made in seconds and
# needs little room. Usage: tests/interop/make_st5.sh [PYTHON], with the interpreter of the main environment
# (.venv/bin/python by default).
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${1:-.venv/bin/python}
packages=(sentence-transformers==5.0.0 transformers==4.57.6 huggingface-hub==0.36.2 tokenizers==0.22.2 pillow==13.0.0
  datasets==4.4.1 httpx==0.28.1 httpcore==1.0.9 h11==0.16.0 anyio==4.11.0 sniffio==1.3.1)
folder=.venv-st5

main=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
made_of="$main ${packages[*]}"

if [[ -f $folder/complete && $(<"$folder/complete") == "$made_of" ]]; then
  exit 0
fi
rm -rf "$folder"
"$python" -m venv --without-pip "$folder"
own=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$own" "${packages[@]}"
# A line of a .pth file comes after the folder it lies in: what was installed just now is found first.
echo "$main" > "$own/after_own_packages.pth"
echo "$made_of" > "$folder/complete"
