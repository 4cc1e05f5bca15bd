#!/bin/sh
# The host's directory on /host. User-mode Linux is told the path, and has its modules on the host too; others call it "host".
set -e
share='' modules=''
# shellcheck disable=SC2013 # words are wanted
for word in $(cat /proc/cmdline); do
	case $word in
	pent.share=*) share=${word#*=} ;;
	pent.modules=*) modules=${word#*=} ;;
	esac
done
if [ -n "$modules" ]; then
	mkdir -p "/lib/modules/$(uname -r)"
	mount -t hostfs -o "hostfs=$modules/$(uname -r)" none "/lib/modules/$(uname -r)"
fi
if [ -n "$share" ]; then
	exec mount -t hostfs -o "hostfs=$share" none /host
fi
exec mount -t virtiofs host /host
