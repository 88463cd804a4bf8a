#!/bin/sh
# Says every INTERVAL seconds that it runs.
count=0
while :; do
    count=$((count + 1))
    echo "autostart-test: running, line $count"
    sleep "${INTERVAL:-5}"
done
