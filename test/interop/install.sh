#!/bin/bash
# install.sh [NAME…]: installs the programs of other projects that `npm run test:interop` runs; without names all of
# them. What is there stays. Debian's packages are installed with apt-get (as root); what comes from a language's
# registry is built into ${SNI_HANDOFF_PEERS:-~/.cache/sni-handoff-peers}/bin and kept between runs.
set -euo pipefail
export HOME=${HOME:-~} # as passwd(5) says, where CI sets none
peers=${SNI_HANDOFF_PEERS:-$HOME/.cache/sni-handoff-peers}
mkdir -p "$peers/bin"

apt() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  apt-get update -qq
  # Tests run instances of their own: none is started as a service of this machine (policy-rc.d, in Debian's invoke-rc.d(8)).
  local policy=/usr/sbin/policy-rc.d
  if [ -e "$policy" ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; fi
  local status=0
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" || status=$?
  [ -z "$policy" ] || rm -f "$policy"
  return "$status"
}

# crate NAME VERSION
crate() {
  "$peers/bin/$1" --version 2>/dev/null | grep -qF "$2" && return
  command -v cargo >/dev/null || apt cargo
  cargo install --quiet --locked --root "$peers" "$1@$2"
}

# go_program PACKAGE VERSION: a program is called as its package is.
go_program() {
  command -v go >/dev/null || apt golang-go
  go version -m "$peers/bin/${1##*/}" 2>/dev/null | grep -qwF "$2" && return
  GOBIN=$peers/bin go install "$1@$2"
}

# python_program PACKAGE VERSION: in a virtual environment of its own; a program is called as its package is.
python_program() {
  "$peers/bin/$1" --version 2>/dev/null | grep -qwF "$2" && return
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv
  python3 -m venv --clear "$peers/python-$1"
  "$peers/python-$1/bin/pip" --quiet --disable-pip-version-check install "$1==$2"
  ln -sfn "../python-$1/bin/$1" "$peers/bin/$1"
}

# npm_program PACKAGE VERSION PROGRAM: in a folder of its own.
npm_program() {
  local folder=$peers/npm-$3
  [ "$(node -p 'require(process.argv[1]).version' "$folder/node_modules/$1/package.json" 2>/dev/null)" = "$2" ] ||
    npm install --silent --no-audit --no-fund --prefix "$folder" "$1@$2"
  ln -sfn "../npm-$3/node_modules/.bin/$3" "$peers/bin/$3"
}

# glibc VERSION SUITE: where this system's is older than VERSION, that of a later Debian, unpacked into a folder and not
# installed: a program runs with it by its ld.so(8).
glibc() {
  local has suite scratch file
  has=$(getconf GNU_LIBC_VERSION)
  if dpkg --compare-versions "${has#glibc }" ge "$1" || [ -e "$peers/glibc" ]; then return; fi
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  scratch=$(mktemp -d)
  mkdir "$scratch"/{sources,lists,cache,packages}
  # From where this system's own packages are.
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
    [ ! -e "$file" ] || sed "s/\\b$suite\\b/$2/g" "$file" >"$scratch/sources/${file##*/}"
  done
  local options=(-qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$scratch/sources")
  options+=(-o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$scratch/packages" && apt-get "${options[@]}" download libc6 libstdc++6 libgcc-s1)
  for file in "$scratch"/packages/*.deb; do dpkg-deb --extract "$file" "$scratch/glibc"; done
  mv "$scratch/glibc" "$peers/glibc"
  rm -r "$scratch"
}

declare -A how=()
# One line a program: how[name]='commands'.
how[sni-router]='apt protobuf-compiler; crate sni-router 0.2.11'
# Its lock file names versions that the registry may not have: then with what there is.
how[tarweb]='apt protobuf-compiler libclang-dev cmake libseccomp-dev; crate tarweb 0.1.8 || cargo install --quiet --root "$peers" tarweb@0.1.8 --bin tarweb'
how[ktls-vm]='apt qemu-system-x86 busybox-static cpio xz-utils'
how[tlsrouter]='go_program github.com/inetaf/tcpproxy/cmd/tlsrouter v0.0.0-20260515195445-c159a6051109'
how[nginx]='apt nginx libnginx-mod-stream'
how[haproxy]='apt haproxy'
how[sniproxy]='apt sniproxy'
how[apache2]='apt apache2-bin'
how[stunnel]='apt stunnel4'
how[tshark]='apt tshark'
how[pebble]='go_program github.com/letsencrypt/pebble/v2/cmd/pebble v2.10.3'
how[pebble-challtestsrv]='go_program github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv v2.10.3'
how[lego]='apt lego'
how[caddy]='go_program github.com/caddyserver/caddy/v2/cmd/caddy v2.11.9'
how[uvicorn]='python_program uvicorn 0.54.0'
how[chromium]='apt chromium'
# Its binary is made for glibc 2.38; Debian 12 has 2.36.
how[jazzer]='npm_program @jazzer.js/core 4.0.0 jazzer; glibc 2.38 trixie'
how[gcc]='apt build-essential'
how[clang]='apt clang'
how[libfuzzer]='apt clang libclang-rt-14-dev'
how[clang-tidy]='apt clang-tidy'
how[valgrind]='apt valgrind'
how[cargo]='apt cargo'
how[openssl-headers]='apt libssl-dev'

names=("$@")
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(printf '%s\n' "${!how[@]}" | sort)
# Each by itself: one that cannot be had keeps none of the others.
if [ ${#names[@]} -gt 1 ]; then
  missing=()
  for name in "${names[@]}"; do
    bash "${BASH_SOURCE[0]}" "$name" || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] || { echo "install.sh: not installed: ${missing[*]}" >&2; exit 1; }
  exit
fi
for name in "${names[@]}"; do
  [ -n "${how[$name]:-}" ] || { echo "install.sh: nobody knows $name; there are: ${!how[*]}" >&2; exit 2; }
  echo "installing $name" >&2
  eval "${how[$name]}"
done
