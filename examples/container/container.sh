#!/bin/sh
# container.sh ROOT FOLDER COMMAND…: runs a command as a container engine does, with nothing but util-linux. It sees the
# files below ROOT and no others, but for FOLDER, which is its /run/app; it is process 1, sees no other, and has no network.
# As root, or as any user who may make user namespaces. SIGTERM goes to the command.
set -eu
root=$1 folder=$2
shift 2
mkdir -p "$root/run/app"
user=
[ "$(id -u)" = 0 ] || user='--user --map-root-user'
# shellcheck disable=SC2086 # two words
unshare $user --mount --pid --net --fork --kill-child -- /bin/sh -c '
  root=$1 folder=$2
  shift 2
  mount --bind "$folder" "$root/run/app"
  exec chroot "$root" "$@"
' container "$root" "$folder" "$@" &
container=$!
trap 'kill -TERM $(cat "/proc/$container/task/$container/children")' TERM INT
# A trap ends wait(1) early.
status=0
wait "$container" || status=$?
while kill -0 "$container" 2>/dev/null; do
  status=0
  wait "$container" || status=$?
done
exit "$status"
