#!/usr/bin/env bash
# Runs the commands of a queue file one after the other: pipelines/queue.txt, or the file that is named.
# What went through is noted in <queue file>.done and skipped the next time; a training that was killed continues at its
# last epoch. A second queue over the same file ends at once.
set -u
queue=${1:-$(dirname "$0")/queue.txt}
done=${QUEUE_DONE:-$queue.done}
[ -r "$queue" ] || { echo "$queue: no such file; give a file with one cnnboost command in each line" >&2; exit 2; }
exec 9> "$done.lock"
flock -n 9 || { echo "$queue: another process works on this queue" >&2; exit 1; }
touch "$done"
failed=0
while IFS= read -r line <&3 || [ -n "$line" ]; do
  command=$(echo "${line%%#*}" | xargs)
  [ -n "$command" ] || continue
  grep -qxF "$command" "$done" && continue
  echo "$(date '+%F %T') cnnboost $command"
  # shellcheck disable=SC2086 - the words of a command
  if ${CNNBOOST:-cnnboost} $command 9>&-; then
    echo "$command" >> "$done"
  else
    status=$?
    echo "$(date '+%F %T') status $status: cnnboost $command" >&2
    failed=1
    [ "$status" -lt 128 ] || exit "$status" # stopped: so is the queue
  fi
done 3< "$queue"
exit $failed
