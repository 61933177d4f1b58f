#!/bin/sh
# SPDX-License-Identifier: ISC
# User space of a guest of somebody else's VMM whose devices are ours: uses each, says what came of it, powers off.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
while read -r m; do $b insmod "$m" || echo "@failed $m"; done </lib/order

echo "@size $($b cat /sys/block/vda/size)"
echo "@read $($b dd if=/dev/vda bs=64k count=16 2>/dev/null | $b sha256sum | $b cut -c1-64)"
$b dd if=/dev/vda of=/dev/vda bs=64k count=16 seek=16 conv=fsync 2>/dev/null && echo "@written"
$b blkdiscard -o 2097152 -l 65536 /dev/vda 2>/dev/null && echo "@discarded"

echo "@rng $($b cat /sys/class/misc/hw_random/rng_current)"
echo "@random $($b dd if=/dev/hwrng bs=64 count=1 2>/dev/null | $b hexdump -ve '1/1 "%02x"')"

$b ifconfig eth0 192.168.77.2 up
$b ping -c 3 -W 5 192.168.77.1 >/dev/null && echo "@ping"
echo "@mac $($b cat /sys/class/net/eth0/address)"
$b dd if=/dev/vda bs=64k count=16 2>/dev/null | $b nc -w 10 192.168.77.1 5000 && echo "@sent"
echo "@received $($b nc -w 10 192.168.77.1 5001 </dev/null | $b sha256sum | $b cut -c1-64)"
$b poweroff -f
