# The first process of an island: private /run, /dev/shm and /proc, then it waits (and reaps orphans) until the
# test closes its standard input. $1 is "legacy" when the runtime must see cgroup version 1 alone.
set -e
read -r pid _ </proc/self/stat # still the host's /proc, so the host's name for this process

mount -t tmpfs -o mode=755 island /run
mount -t tmpfs -o mode=1777 island /dev/shm

# On a hybrid layout version 2 is only unmounted, its directory stays and some runtimes would make theirs in it:
# show the version 1 hierarchies on a tmpfs of our own instead.
if [ "$1" = legacy ] && mountpoint -q /sys/fs/cgroup/unified; then
    view=/run/cgroup-view
    mkdir $view
    mount -t tmpfs -o mode=755 island $view
    for hierarchy in /sys/fs/cgroup/*; do
        name=${hierarchy##*/}
        if [ -L "$hierarchy" ]; then
            cp -P "$hierarchy" $view/
        elif [ "$name" != unified ]; then
            mkdir $view/"$name"
            mount --bind "$hierarchy" $view/"$name"
        fi
    done
    umount --recursive /sys/fs/cgroup
    mount --move $view /sys/fs/cgroup
    rmdir $view
fi

mount -t proc proc /proc
echo "$pid"
exec 3<&0
cat <&3 >/dev/null &
wait $!
