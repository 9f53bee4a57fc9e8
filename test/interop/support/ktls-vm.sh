#!/bin/bash
# ktls-vm.sh [-p PATH]... [-m MEMORY_MB] [-t SECONDS] -- COMMAND
# Runs COMMAND (a /bin/sh line) as root in a virtual machine with Linux 6.12 and kernel TLS, which not every kernel has, and exits with its
# status. Under software emulation it boots in about 10 s, and programs run 10 to 20 times slower.
# -p adds a file or a folder, at its own path; programs and shared objects bring the libraries that they need (ldd). busybox is there as the shell.
# Needs root and Debian; installs qemu-system-x86, busybox-static, cpio, xz-utils; keeps the kernel in ${SNI_HANDOFF_PEERS:-~/.cache/sni-handoff-peers}/ktls-vm.
set -euo pipefail
P=() MEM=2048 LIMIT=300
while getopts p:m:t: o; do case $o in p) P+=("$OPTARG");; m) MEM=$OPTARG;; t) LIMIT=$OPTARG;; *) exit 2;; esac; done; shift $((OPTIND-1))
[ $# -gt 0 ] || { sed -n 2,6p "$0" >&2; exit 2; }
C=${SNI_HANDOFF_PEERS:-$HOME/.cache/sni-handoff-peers}/ktls-vm; mkdir -p "$C"; W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
command -v qemu-system-x86_64 >/dev/null && [ -x /bin/busybox ] && command -v cpio >/dev/null && command -v xz >/dev/null || {
  apt-get update -qq; apt-get install -y -qq --no-install-recommends qemu-system-x86 busybox-static cpio xz-utils; } >/dev/null
if [ ! -f "$C/vmlinuz" ]; then # the next Debian's cloud kernel, through this machine's own Debian sources with the suite changed
  mkdir -p "$W"/{parts,lists/partial,deb}; sed -E 's/^Suites: bookworm .*/Suites: trixie/; s/^Suites: bookworm-security.*/Suites: trixie-security/' /etc/apt/sources.list.d/debian.sources >"$W/parts/d.sources"
  A=(-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$W/parts" -o Dir::State::Lists="$W/lists")
  apt-get "${A[@]}" update -qq 2>/dev/null; K=$(apt-cache "${A[@]}" depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-6[^ ]*\)$/\1/p' | head -1)
  (cd "$W/deb" && apt-get "${A[@]}" download -qq "$K" 2>/dev/null && dpkg -x ./*.deb .)
  for m in gf128mul crypto_null geniv ghash-generic gcm seqiv tls; do f=$(find "$W/deb" -name "$m.ko.xz"); [ -z "$f" ] || xz -dc "$f" >"$C/$m.ko"; done
  cp "$W"/deb/boot/vmlinuz-* "$C/vmlinuz"
fi
R=$W/r; mkdir -p "$R"/{bin,proc,sys,dev,tmp,run,etc,root,mods,lib64}; cp /bin/busybox "$R/bin/"; cp "$C"/*.ko "$R/mods/"
add() { mkdir -p "$R$(dirname "$1")"; if [ -d "$1" ]; then cp -a "$1" "$R$(dirname "$1")/"; else cp -Lf "$1" "$R$1"; fi
  find "$1" -type f \( -perm -u+x -o -name '*.so*' -o -name '*.node' \) -print0 | xargs -0r ldd 2>/dev/null | grep -o '/[^ ]*' | grep -v ':$' | sort -u | while read -r l; do mkdir -p "$R$(dirname "$l")"; cp -Lun "$l" "$R$l"; done || :; }
for p in "${P[@]}"; do add "$(cd "$(dirname "$p")"; pwd)/$(basename "$p")"; done; cp -L /lib/x86_64-linux-gnu/libnss_{files,dns}.so.2 "$R/lib/x86_64-linux-gnu/" 2>/dev/null || :
echo root:x:0:0:root:/root:/bin/sh >"$R/etc/passwd"; echo root:x:0: >"$R/etc/group"; echo 127.0.0.1 localhost >"$R/etc/hosts"; echo nameserver 127.0.0.1 >"$R/etc/resolv.conf"
printf '%s\n' "$*" >"$R/command"
cat >"$R/init" <<'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin; export PATH=/bin:/usr/bin:/usr/local/bin:/sbin:/usr/sbin HOME=/root
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /run; ln -s /proc/self/fd /dev/fd 2>/dev/null; ifconfig lo 127.0.0.1 up; ip -6 addr add ::1/128 dev lo 2>/dev/null
for m in gf128mul crypto_null geniv ghash-generic gcm seqiv tls; do [ -f /mods/$m.ko ] && insmod /mods/$m.ko; done
cd /root; sh /command </dev/null; echo "vm-exit:$?"; sync; poweroff -f
I
chmod +x "$R/init"; (cd "$R" && find . | cpio -o -H newc --quiet | gzip -1 >"$W/ir.gz")
timeout "$LIMIT" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m "$MEM" -smp 2 -kernel "$C/vmlinuz" -initrd "$W/ir.gz" -append 'console=ttyS0 quiet panic=-1' -nographic -no-reboot -nic none </dev/null 2>&1 | tr -d '\r' | awk '/Booting from ROM/{on=1;next} on' | sed -u 's/\x1b\[[?0-9;]*[a-zA-Z]//g; s/^\x1bc//' | tee "$W/out" | grep -Ev '^vm-exit:|reboot: Power down' || :
rc=$(sed -n 's/^vm-exit:\([0-9]*\).*/\1/p' "$W/out"); exit "${rc:-124}"
