# source this file: vdkr and vpdmn are on PATH then, and find what they boot beside themselves.
if [ -n "${BASH_SOURCE:-}" ]; then
    vcontainer_home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
else
    vcontainer_home=$(cd "$(dirname "$0")" && pwd)
fi
PATH="$vcontainer_home:$PATH"
export PATH
unset vcontainer_home
echo "vdkr and vpdmn are ready: vdkr images"
