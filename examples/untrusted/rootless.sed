# Turns config.json into what an ordinary user can run: a user namespace in which the container's uid 0 is the caller (and
# holds no capability), and resource limits in place of a cgroup, which an ordinary user may not make.
s/"user": {.*}/"user": { "uid": 0, "gid": 0, "umask": 63 }/
s/^    "rlimits": \[/&\
      { "type": "RLIMIT_NPROC", "soft": 64, "hard": 64 },\
      { "type": "RLIMIT_DATA", "soft": 134217728, "hard": 134217728 },/
s/^    "namespaces": \[/    "uidMappings": [{ "containerID": 0, "hostID": @UID@, "size": 1 }],\
    "gidMappings": [{ "containerID": 0, "hostID": @GID@, "size": 1 }],\
&\
      { "type": "user" },/
/^    "resources": {/,/^    },/d
