# Runs one command in a container for somebody who is attached, and ends with it. POSIX sh, as the images of others have it; of programs
# it needs mkdir, rm and sleep. (Lines like these are left out of what is sent.)
# $1 name of the session's folder, $2 token of its marks, $3 seconds without a sign of life after which the command is ended (0: none is
# awaited), $4 seconds after which it is ended anyhow (0: never), $5 whether the command gets stdin (yes, no); the rest is the command.
d=/dev/shm/$1 token=$2 silence=$3 limit=$4 stdin=$5
shift 5
say() { printf '\033]netcheck;%s;%s;%s\007' "$token" "$1" "$2"; }
both() { say "$1" "$2"; [ -t 1 ] || say "$1" "$2" >&2; }
leave() { both 129 stopped; rm -rf "$d"; exit 129; }
# Runtimes lose output that was written just before the end: so whoever has read the last mark ends it, or silence does.
finish() {
  trap "rm -rf '$d'; exit $1" TERM
  rm -f "$d/command"
  both "$1" "$2"
  while sleep 5 & wait $!; [ "$silence" != 0 ]; do :; done
  rm -rf "$d"
  exit "$1"
}
umask 077
mkdir "$d" || { silence=0; finish 125 folder; }
echo $$ >"$d/keeper"
# Handlers, not "ignore": that would be handed down to the command.
trap : INT QUIT
trap leave TERM
stop() {
  if read -r p <"$d/command"; then kill -HUP "$p"; sleep 2; kill -KILL "$p"; fi
  if [ -d "$d" ]; then kill -TERM $$; fi
}
watch() {
  while rm -f "$d/life" && sleep "$silence" && [ -e "$d/life" ]; do :; done
  stop
}
if [ "$limit" != 0 ]; then (sleep "$limit"; stop) </dev/null >/dev/null 2>&1 & fi
if [ "$silence" != 0 ]; then (watch) </dev/null >/dev/null 2>&1 & fi
# Nothing begins before somebody is attached and has heard an answer: no output is missed, and a terminal has its size. (Runtimes may pass
# on what is typed before they pass on what is said.) The answer is to an empty line; any other begins, so that also somebody can who comes back to
# a session that was left before.
while read -r line || leave; [ -z "$line" ]; do both 0 here; done
if [ $# = 0 ]; then
  set -- sh
  for shell in bash zsh ash; do if command -v "$shell" >/dev/null; then set -- "$shell"; break; fi; done
fi
command -v "$1" >/dev/null || finish 127 missing
both 0 started
run='echo $$ >"$0/command"; exec "$@"'
if [ "$stdin" = yes ]; then sh -c "$run" "$d" "$@"; else sh -c "$run" "$d" "$@" </dev/null; fi
finish $? ended
