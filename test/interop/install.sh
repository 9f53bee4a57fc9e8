#!/bin/bash
# install.sh [NAME…]: installs the programs of other projects that `npm run test:interop` runs; without names all of
# them. What is there stays. Debian's packages are installed with apt-get (as root); what comes from a language's
# registry is built into ${SNI_HANDOFF_PEERS:-~/.cache/sni-handoff-peers}/bin and kept between runs.
set -euo pipefail
peers=${SNI_HANDOFF_PEERS:-$HOME/.cache/sni-handoff-peers}
mkdir -p "$peers/bin"

apt() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# crate NAME VERSION
crate() {
  "$peers/bin/$1" --version 2>/dev/null | grep -qF "$2" && return
  command -v cargo >/dev/null || apt cargo
  cargo install --quiet --locked --root "$peers" "$1@$2"
}

declare -A how=()
# One line a program: how[name]='commands'.

names=("$@")
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(printf '%s\n' "${!how[@]}" | sort)
for name in "${names[@]}"; do
  [ -n "${how[$name]:-}" ] || { echo "install.sh: nobody knows $name; there are: ${!how[*]}" >&2; exit 2; }
  echo "installing $name" >&2
  eval "${how[$name]}"
done
