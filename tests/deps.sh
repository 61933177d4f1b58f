#!/bin/sh
# SPDX-License-Identifier: ISC
# Install the Debian packages named as arguments that are missing; not as root: say which command would.
set -eu
missing=$(
	{
		dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null || true
		printf 'wanted %s\n' "$@"
	} | awk '$1 == "ii" { have[$2] = 1 } $1 == "wanted" && !have[$2] { printf " %s", $2 }'
)
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "missing packages; as root: apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
	# shellcheck disable=SC2086
	apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $missing </dev/null >"$log" 2>&1
}
# The lists of packages may be missing or old: fetch them and try once more.
if ! install && ! { apt-get -qq update </dev/null && install; }; then
	cat "$log" >&2
	exit 1
fi
