#!/bin/sh
# Unpacks vdkr and vpdmn. Options: -d DIR (where to), -y (no questions). No root is needed where DIR may be written.
set -eu
directory=/opt/vcontainer
yes=
while getopts d:yh option; do
    case $option in
        d) directory=$OPTARG ;;
        y) yes=1 ;;
        *) echo "usage: $0 [-d DIR] [-y]"; exit 2 ;;
    esac
done
fail() {
    echo "error: $1" >&2
    exit 1
}
command -v xz > /dev/null || fail "cannot unpack: xz is not installed"
if [ -z "$yes" ]; then
    default=y choice=Y/n
    if [ -e "$directory/init-env.sh" ]; then
        default=n choice=y/N
        printf '%s has an installation. ' "$directory"
    fi
    printf 'Install into %s? [%s] ' "$directory" "$choice"
    read -r answer
    case ${answer:-$default} in y* | Y*) ;; *) exit 1 ;; esac
fi
mkdir -p "$directory" && [ -w "$directory" ] || fail "cannot write into $directory: name another place by -d, or be root"
directory=$(cd "$directory" && pwd)
start=$(awk '/^__ARCHIVE__$/ { print NR + 1; exit }' "$0")
tail -n "+$start" "$0" | tar -C "$directory" --strip-components=1 --no-same-owner -xJf -
"$directory/vdkr" --version > /dev/null || fail "$directory/vdkr does not run on this machine ($(uname -m)): what the archive was made on has to be like it"
echo "Installed. In each shell: source $directory/init-env.sh"
exit 0
__ARCHIVE__
