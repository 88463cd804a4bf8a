# source this file: vdkr and vpdmn are on PATH then.
if [ -n "${BASH_SOURCE:-}" ]; then
    vcontainer_home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
else
    vcontainer_home=$(cd "$(dirname "$0")" && pwd)
fi
PATH="$vcontainer_home:$PATH"
VCONTAINER_SHARE="$vcontainer_home/share/vcontainer"
export PATH VCONTAINER_SHARE
unset vcontainer_home
echo "vdkr and vpdmn are ready: vdkr images"
