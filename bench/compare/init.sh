#!/bin/sh
# The first and only program of the Linux guest: makes the disk ready, does what /job/run says, and powers off.
export PATH=/bin LD_LIBRARY_PATH=/lib
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
stty -echo -onlcr </dev/console

fail() {
    echo @begin failure
    echo "$*"
    echo @end
    poweroff -f
}

# mark NAME [FILE]: where the guest is, with its clocks; FILE is read first.
mark() {
    numbers=$(probe ${2:+"$2"}) || return 1
    echo "@mark $1 $numbers"
}

# wait_at NAME: until the host has seen it.
wait_at() {
    echo "@wait $1"
    read -r _ </dev/console
}

# show NAME FILE
show() {
    echo "@begin $1"
    cat "$2"
    echo
    echo @end
}

mark init
for module in /modules/*; do
    insmod "$module" || fail "insmod $module"
done
tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || fail "no disk /dev/vda has come up"
    sleep 0.1
done
mark first-read /dev/vda || fail "the first read of /dev/vda"
while read -r key value; do
    echo "$value" >"/sys/block/vda/queue/$key" || fail "/sys/block/vda/queue/$key does not take $value"
done </job/settings
cd /dev || fail "cd /dev" # so that the job file's filename=vda is the disk
# shellcheck disable=SC1091 # the host puts it there
. /job/run
poweroff -f
