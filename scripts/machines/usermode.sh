# User-mode Linux: a kernel that is a program, whose processes are this machine's own and run at its speed. Part of
# scripts/test-vm, which says what each function is for.
#
# Debian's build has IPVS, dummy devices, netem and cgroups, but its nftables knows bridges alone. So those modules are
# compiled from the source of the very same kernel, in some 80 s of a processor, once.

# Modules that differ when nftables knows IP: itself, what it has for IP, and the NAT that exports more then; and what it
# looks at in bridges and copies from one link to another.
MODULES="
    netfilter/nf_nat netfilter/nf_tables netfilter/nft_chain_nat netfilter/nft_fib netfilter/nft_fib_inet
    netfilter/nft_masq netfilter/nft_nat netfilter/nft_redir netfilter/nft_reject netfilter/nft_reject_inet
    ipv4/netfilter/nft_fib_ipv4 ipv4/netfilter/nft_reject_ipv4
    ipv6/netfilter/nft_fib_ipv6 ipv6/netfilter/nft_reject_ipv6
    bridge/netfilter/nft_meta_bridge bridge/netfilter/nft_reject_bridge
    netfilter/nf_dup_netdev netfilter/nft_dup_netdev netfilter/nft_fwd_netdev"
OPTIONS="NF_TABLES_INET=y NF_TABLES_IPV4=y NF_TABLES_IPV6=y NF_TABLES_ARP=y NF_TABLES_NETDEV=y
    NFT_NAT=m NFT_FIB_IPV4=m NFT_FIB_IPV6=m NFT_FIB_INET=m NFT_REJECT_IPV4=m
    NFT_BRIDGE_META=m NFT_BRIDGE_REJECT=m NFT_DUP_NETDEV=m NFT_FWD_NETDEV=m"

NAMES=user-mode-linux

can_run() { [ "$(uname -m)" = x86_64 ] && [ "$(id -u)" = 0 ]; }

newest() {
    version=$(field user-mode-linux Version)
    source=$(field user-mode-linux Built-Using | sed -n 's/.*linux (= \([^)]*\)).*/\1/p')
    [ -z "$version" ] || [ -z "$source" ] || name=user-mode-linux_${version}_$source
}

download() {
    series=$(printf '%s' "$source" | cut -d . -f 1,2)
    fetch user-mode-linux "linux-source-$series=$source"
}

unpack() {
    dpkg-deb -x "$KERNELS"/new/user-mode-linux_*.deb "$KERNELS/new/files"
    mkdir -p "$KERNELS/new/lib" "$KERNELS/new/source"
    mv "$KERNELS"/new/files/usr/bin/linux.uml "$KERNELS/new/linux"
    mv "$KERNELS"/new/files/usr/lib/uml/modules "$KERNELS/new/lib/modules"
    release=$(basename "$KERNELS"/new/lib/modules/*)
    dpkg-deb --fsys-tarfile "$KERNELS"/new/linux-source-*.deb | tar -x -C "$KERNELS/new/files"
    # Half of the source is drivers, of which the build reads what there could be.
    xz -dc "$KERNELS"/new/files/usr/src/linux-source-*.tar.xz | tar -x -C "$KERNELS/new/source" --strip-components 1 \
        --exclude='*/drivers/*.[chS]' --exclude='*/sound/*.[chS]' --exclude='*/fs/*.[chS]' --exclude='*.dts*' \
        --exclude='*/Documentation/*/*' --exclude='*/tools/testing/*' --exclude='*/tools/perf/*'
    build >"$KERNELS/build.log" 2>&1 || die "modules of user-mode Linux could not be built; see $KERNELS/build.log"
    depmod -b "$KERNELS/new" "$release"
    rm -r "$KERNELS"/new/*.deb "$KERNELS/new/files" "$KERNELS/new/source"
    mv "$KERNELS/new" "$KERNELS/$name" # what was interrupted has another name
}

# It is a kernel of its own that these go into, which lists no symbols, so that modpost can't know whether it has all.
build() {
    zcat "$KERNELS"/new/files/usr/share/doc/user-mode-linux/config.gz >"$KERNELS/new/source/.config"
    for option in $OPTIONS; do echo "CONFIG_$option" >>"$KERNELS/new/source/.config"; done
    targets=$(for module in $MODULES; do echo "net/$module.ko"; done)
    # shellcheck disable=SC2086 # a list of words
    um olddefconfig && um modules_prepare && um $targets || return 1
    for module in $MODULES; do
        cp "$KERNELS/new/source/net/$module.ko" "$KERNELS/new/lib/modules/$release/kernel/net/$module.ko" || return 1
    done
}

um() { make -s -j 2 -C "$KERNELS/new/source" ARCH=um KBUILD_MODPOST_WARN=1 "$@"; }

# Its memory is a file, its control socket lies in a home, and each of its address spaces is a process here: all that is
# in namespaces that end with it. `unshare` doesn't listen to SIGTERM, so SIGKILL comes soon.
run_machine() {
    place=$(mktemp -d)
    {
        echo '#!/bin/sh'
        echo "export KERNEL=$(quoted "$kernel") EMULAB_TEST_ATTEMPTS=${EMULAB_TEST_ATTEMPTS:-0} EMULAB_TEST_DAY=${EMULAB_TEST_DAY:-}"
        printf 'exec %s --guest usermode' "$(quoted "$PWD/scripts/test-vm")"
        for argument in "$@"; do printf ' %s' "$(quoted "$argument")"; done
    } >"$place/init"
    chmod +x "$place/init"
    sh -c 'echo $$ >.cache/vm/pid && exec "$@"' sh \
        timeout --kill-after=1 "$LIMIT" unshare --mount --pid --fork --kill-child --mount-proc sh -c '
            mkdir "$1/memory" && mount -t tmpfs -o size=3200M memory "$1/memory" || exit
            export TMPDIR="$1/memory" HOME="$1/memory"
            "$2/linux" mem=3G umid=emulab uml_dir="$1/memory" rootfstype=hostfs root=/dev/root hostfs=/ ro \
                init="$1/init" con0=null,fd:1 con=null ssl=null loglevel=1
        ' sh "$place" "$kernel" </dev/null 2>&1 || true
    rm -rf "$place"
}

# The kernel looks for modules where this machine has none for it.
enter() {
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t devtmpfs dev /dev 2>/dev/null || true
    mkdir -p /dev/pts /dev/shm
    mount -t devpts pts /dev/pts
    mount -t tmpfs shm /dev/shm
    mount -t tmpfs run /run
    printf '#!/bin/sh\nexec modprobe -d %s "$@"\n' "$(quoted "$KERNEL")" >/run/modprobe
    chmod +x /run/modprobe
    echo /run/modprobe >/proc/sys/kernel/modprobe
    mkdir /run/share
    mount --bind / /run/share
    in_layer "$@" || true
    echo o >/proc/sysrq-trigger
    sleep 60
}

load() { modprobe -d "$KERNEL" "$@"; }
