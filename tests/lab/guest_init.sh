#!/bin/sh
# SPDX-License-Identifier: ISC
# The whole user space of a lab guest ("L2"): says what it sees of the machine, then does what it is told, by
# cloister.test=WORD,WORD... on the kernel command line or by lines typed on its console (cloister.test=serve).
# What only tests read begins with "@". It says little: each serial byte is a costly exit under emulation.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev

hello() {
	read -r _ _ release _ </proc/version
	while read -r key value _; do [ "$key" = MemTotal: ] && break; done </proc/meminfo
	read -r online </sys/devices/system/cpu/online
	echo "Hello from the guest: Linux $release, CPUs $online, $((value / 1024)) MiB"
}

report() {
	read -r online </sys/devices/system/cpu/online
	echo "@online $online"
	i=0
	while [ -d /sys/firmware/memmap/$i ]; do
		read -r start </sys/firmware/memmap/$i/start
		read -r end </sys/firmware/memmap/$i/end
		read -r type </sys/firmware/memmap/$i/type
		echo "@memmap $start $end $type"
		i=$((i + 1))
	done
	for t in /sys/firmware/acpi/tables/*; do [ -f $t ] && echo "@acpi ${t##*/}"; done
	for d in /sys/bus/pci/devices/*; do
		[ -d $d ] || continue
		read -r vendor <$d/vendor
		read -r device <$d/device
		echo "@pci ${d##*/} $vendor $device"
	done
	$b dmesg -r | while read -r line; do
		case $line in "<"[0-4]">"*) echo "@dmesg $line" ;; esac
	done
	echo "@report-end"
}

run() {
	case $1 in
	hello) hello ;;
	report) report ;;
	poweroff) $b poweroff -f ;;
	halt) $b halt -f ;;
	reboot)    # reboot [acpi|kbd|triple]
		[ -n "$2" ] && echo "$2" >/sys/kernel/reboot/type
		$b reboot -f ;;
	idle) while :; do $b sleep 1000; done ;;
	lines)     # lines COUNT: numbered, 32 bytes each with the line end
		$b awk -v n="$2" 'BEGIN { for (i = 1; i <= n; i++) printf "#%08d %020d\n", i, i * 7 }' | $b cat -u ;;
	spin) while :; do :; done ;;
	key)       # one raw byte from the console, printed in hex
		$b stty raw -echo
		echo "@key-ready"
		key=$($b dd bs=1 count=1 2>/dev/null | $b hexdump -ve '1/1 "%02x"')
		$b stty sane -echo
		echo "@key $key" ;;
	echo) echo "@echo $2" ;;
	serve) serve ;;
	devices)   # load the drivers, say what came of it
		while read -r m; do $b insmod "$m" || echo "@failed $m"; done </lib/order
		echo "@devices-done" ;;
	hvc) exec </dev/hvc0 >/dev/hvc0 2>&1 ;;   # go on there: its driver is a module, so it was no console yet
	wait) $b sleep "$2" ;;
	sh) $b sh -c "$2" ;;
	*) echo "@unknown $1" ;;
	esac
}

serve() {
	$b stty -echo
	echo "@ready"
	while read -r word rest; do run "$word" "$rest"; echo "@done $word"; done
	echo "@eof"
}

hello
tests=idle
read -r cmdline </proc/cmdline
for a in $cmdline; do
	case $a in cloister.test=*) tests=${a#cloister.test=} ;; esac
done
IFS=,
for t in $tests; do
	unset IFS
	run "${t%%:*}" "$([ "$t" = "${t#*:}" ] || echo "${t#*:}")"
done
run poweroff
