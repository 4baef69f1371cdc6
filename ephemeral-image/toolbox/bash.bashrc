# Read by every interactive bash of the toolbox, whoever runs it: any user id, with or without HOME, on a root that may be read-only.

# Nothing of what is typed here stays behind, and a root that is read-only has no place for it.
unset HISTFILE

# Where a program keeps what does not fit into memory; /dev/shm can be written to when nothing else can.
[ -w "${TMPDIR:-/tmp}" ] || export TMPDIR=/dev/shm

# Where one is: kubectl netcheck says it in NETCHECK_TARGET ("pod shop/web-x", "node n1"); else the host's name, which in a pod is the pod's.
# The value is shown, never evaluated, and without characters that would drive the terminal.
__netcheck_where=${NETCHECK_TARGET:-${HOSTNAME:-toolbox}}
__netcheck_where=${__netcheck_where//[^[:print:]]/?}
__netcheck_where=${__netcheck_where:0:100}
case "${NO_COLOR:+plain}${TERM:-dumb}" in
    plain* | dumb) PS1='[${__netcheck_where}] \w \$ ' ;;
    *) PS1='\[\e[1;36m\][${__netcheck_where}]\[\e[0m\] \w \$ ' ;;
esac
PS2='> '

shopt -s checkwinsize
alias ll='ls -l'
if [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then
    alias grep='grep --color=auto' ip='ip -color=auto' ls='ls --color=auto'
fi
