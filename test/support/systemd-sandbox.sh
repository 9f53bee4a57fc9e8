#!/bin/bash
# systemd-sandbox.sh [SOURCE:TARGET]...
#
# Boots a real systemd of its own: new namespaces of every kind but user, a throw-away overlay of /, no network but lo.
# SOURCE is bound to TARGET in there. Prints "ready PID" (of its process 1, as seen from here) and runs until standard
# input ends. A command inside:
#
#   nsenter -t PID -m -u -i -n -p COMMAND
#
# Needs root, systemd, and a cgroup v2 hierarchy that may be written to.
set -euo pipefail

if [ "${SANDBOX_STAGE:-}" = inner ]; then # process 1 of the new namespace, about to become systemd
  work=$1 && shift
  tmpfs() { mount -t tmpfs -o "nosuid,mode=$1" tmpfs "$2"; }
  tmpfs 755 "$work"
  mkdir "$work"/{upper,work,root}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
  cd "$work/root"
  mount -t proc proc proc
  mount --bind proc/sys proc/sys
  mount -o remount,ro,bind proc/sys
  mount -t sysfs -o ro sysfs sys
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  tmpfs 755 run
  tmpfs 1777 tmp
  tmpfs 755 dev
  mkdir dev/pts dev/shm
  tmpfs 1777 dev/shm
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
  for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"; done
  mknod -m 666 dev/tty c 5 0
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd
  for stream in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${stream%:*}" "dev/${stream#*:}"; done
  # A minimal boot: neither the host's enabled units, nor generators, nor what sysinit and timers pull in.
  for folder in etc/systemd/system usr/lib/systemd/system{-generators,/sysinit.target.wants,/timers.target.wants}; do
    [ ! -d "$folder" ] || tmpfs 755 "$folder"
  done
  printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >etc/systemd/system/default.target
  for unit in journald-audit initctl; do ln -s /dev/null "etc/systemd/system/systemd-$unit.socket"; done
  mkdir -p etc/systemd/journald.conf.d
  printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' >etc/systemd/journald.conf.d/sandbox.conf
  for bind; do
    mkdir -p "./${bind#*:}"
    mount --rbind "${bind%%:*}" "./${bind#*:}"
  done
  pivot_root . mnt
  cd /
  umount -l /mnt
  mount --make-rshared /
  exec env -i container=sandbox PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    "$SANDBOX_SYSTEMD" --system --show-status=0 --log-target=journal
fi

fail() {
  echo "systemd-sandbox.sh: $*" >&2
  exit 1
}
for folder in /usr/lib/systemd /lib/systemd; do
  [ ! -x "$folder/systemd" ] || SANDBOX_SYSTEMD=$folder/systemd
done
[ -n "${SANDBOX_SYSTEMD:-}" ] || fail "systemd is missing: apt-get install systemd"
command -v dbus-daemon >/dev/null || fail "systemctl needs a bus: apt-get install dbus"
[ "$(id -u)" = 0 ] || fail "namespaces and mounts need root: run the tests as root"
cgroups=/sys/fs/cgroup
[ -e "$cgroups/cgroup.procs" ] || cgroups=/sys/fs/cgroup/unified
[ -e "$cgroups/cgroup.procs" ] || fail "no cgroup v2 hierarchy at /sys/fs/cgroup or /sys/fs/cgroup/unified"
export SANDBOX_SYSTEMD

self=$(readlink -f "$0") # here: in the background job it would be a child that is taken for process 1
work=$(mktemp -d)
cgroup=$(mktemp -d "$cgroups/sandbox.XXXXXX") || fail "$cgroups may not be written to"
# shellcheck disable=SC2016
bash -c 'echo $$ >"$1/cgroup.procs"; SANDBOX_STAGE=inner exec setpriv --pdeathsig KILL unshare --pid --fork \
  --kill-child --mount --uts --ipc --net --cgroup bash "${@:2}"' \
  _ "$cgroup" "$self" "$work" "$@" </dev/null >&2 &
unshare=$!
clean_up() {
  kill -KILL "$unshare" || :
  wait "$unshare" || :
  for _ in {1..100}; do
    find "$cgroup" -depth -type d -exec rmdir {} + && break
    sleep .05
  done
  rmdir "$work"
}
trap 'clean_up 2>/dev/null' EXIT
trap 'exit 129' HUP INT TERM

for _ in {1..500}; do
  first=$(pgrep -P "$unshare") && break
  kill -0 "$unshare" || fail "ended before it began"
  sleep .02
done
for _ in {1..1500}; do
  state=
  if [ "$(readlink "/proc/$first/exe")" = "$(readlink -f "$SANDBOX_SYSTEMD")" ]; then
    state=$(nsenter -t "$first" -m -u -i -n -p systemctl is-system-running --wait 2>/dev/null) || :
  fi
  case $state in running | degraded) break ;; esac
  kill -0 "$first" 2>/dev/null || fail "systemd ended while booting"
  sleep .02
done
case $state in running | degraded) ;; *) fail "systemd did not boot within 30 s" ;; esac
echo "ready $first"
cat >/dev/null # until standard input ends
