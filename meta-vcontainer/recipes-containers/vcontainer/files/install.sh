#!/bin/sh
# Unpacks vdkr and vpdmn. Options: -d DIR (where to), -y (no questions).
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
command -v xz > /dev/null || { echo "error: xz is not installed" >&2; exit 1; }
if [ -z "$yes" ]; then
    printf 'Install into %s? [Y/n] ' "$directory"
    read -r answer
    case $answer in n* | N*) exit 1 ;; esac
fi
mkdir -p "$directory" || { echo "error: $directory cannot be written: name another place by -d" >&2; exit 1; }
start=$(awk '/^__ARCHIVE__$/ { print NR + 1; exit }' "$0")
tail -n "+$start" "$0" | tar -C "$directory" --strip-components=1 -xJf -
echo "Installed. In each shell: source $directory/init-env.sh"
exit 0
__ARCHIVE__
