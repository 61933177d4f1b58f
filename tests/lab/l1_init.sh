#!/bin/sh
# SPDX-License-Identifier: ISC
# First program of the lab host ("L1"), in its initramfs. It loads what reaching the build machine's root file
# system takes, lays a scratch layer over that (so that nothing is ever written back), and goes on in the agent.
b=/bin/busybox
fail() { echo "lab: $*" >/dev/console; echo o >/proc/sysrq-trigger; $b sleep 100; }

$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
while read -r m; do $b insmod "$m" || fail "insmod $m"; done </lib/order

for a in $($b cat /proc/cmdline); do
	case $a in
	lab.agent=*) agent=$($b printf %b "${a#lab.agent=}") ;;
	lab.modules=*) modules=$($b printf %b "${a#lab.modules=}") ;;
	esac
done

$b mkdir /lower /scratch
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose,ro host /lower || fail "no root file system"
$b mount -t tmpfs -o size=75%,mode=755 scratch /scratch
$b mkdir /scratch/upper /scratch/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/scratch/upper,workdir=/scratch/work overlay /newroot || fail "overlay"

n=/newroot
$b mount -t proc proc $n/proc
$b mount -t sysfs sysfs $n/sys
$b mount -t devtmpfs dev $n/dev
$b mkdir -p $n/dev/pts $n/dev/shm $n/lib/modules
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts $n/dev/pts
$b mount -t tmpfs -o mode=1777 shm $n/dev/shm
$b mount -t tmpfs -o mode=755 run $n/run
$b mount -t cgroup2 cgroup2 $n/sys/fs/cgroup
$b mount -o bind "$n$modules" $n/lib/modules || fail "no modules"
$b umount /proc
$b ifconfig lo 127.0.0.1 up
# The shell stays process 1: it reaps whatever the agent's children leave behind.
exec $b switch_root /newroot /bin/sh -c 'python3 -I -S -B "$1"; echo o >/proc/sysrq-trigger; sleep 100' sh "$agent"
