# A stock Debian or Ubuntu kernel in QEMU without KVM, which takes some ten times as long as user-mode Linux: for where that
# is not to be had. Part of scripts/test-vm, which says what each function is for.
#
# virtme-ng gives it this machine's file system. The kernel and what starts it are not installed, but unpacked.

NAMES=linux-image-
SHARE=emulab-root

can_run() {
    [ "$(uname -m)" = x86_64 ] || return 1
    case $PWD in
        *[[:space:]]*)
            say "virtme-ng starts nothing from a path with a space: $PWD; move the checkout"
            return 1
            ;;
    esac
    scripts/setup emulator
}

# Of a list of packages the first whose name begins so.
named() { printf '%s' "$1" | tr ',' '\n' | sed -n "s/^ *\($2[^ ]*\).*/\1/p" | head -n 1; }

newest() {
    for meta in linux-image-amd64 linux-image-virtual; do # Debian's name and Ubuntu's, which has modules apart
        list=$(field "$meta" Depends)
        image=$(named "$list" linux-image-)
        if [ -n "$image" ]; then break; fi
    done
    [ -n "$image" ] || return 0
    modules=''
    [ "$meta" = linux-image-amd64 ] || modules=$(named "$(field "$image" Depends)" linux-modules-)
    version=$(printf '%s' "$list" | sed -n "s/.*$image (= \([^)]*\)).*/\1/p")
    name=${image}_${version:-$(field "$image" Version)}
}

download() {
    # shellcheck disable=SC2086 # maybe no word
    fetch busybox-static "$image" $modules
}

# The kernel with its modules, those of devices left out that no virtual machine has, and a busybox for its start.
unpack() {
    for package in "$KERNELS"/new/*.deb; do
        dpkg-deb --fsys-tarfile "$package" >"$KERNELS/new/files.tar"
        tar -x -f "$KERNELS/new/files.tar" -C "$KERNELS/new" --exclude='./usr/share' --exclude='./boot/System.map*' \
            --exclude='*/kernel/sound' --exclude='*/drivers/gpu' --exclude='*/drivers/media' \
            --exclude='*/drivers/net/ethernet' --exclude='*/drivers/net/wireless' --exclude='*/drivers/infiniband' \
            --exclude='*/drivers/scsi' --exclude='*/drivers/staging' --exclude='*/drivers/usb'
        rm "$package" "$KERNELS/new/files.tar"
    done
    [ -e "$KERNELS/new/lib" ] || ln -s usr/lib "$KERNELS/new/lib"
    depmod -b "$KERNELS/new" "$(basename "$KERNELS"/new/lib/modules/*)"
    decompress
    mv "$KERNELS/new" "$KERNELS/$name" # what was interrupted has another name
}

# QEMU starts the kernel itself (PVH) in seven seconds less than its loader, which would decompress it on an emulated
# processor. A kernel that is compressed by something else is taken as it is.
decompress() {
    for image in "$KERNELS"/new/boot/vmlinuz-*; do
        .venv/bin/python -c '
import lzma, pathlib, sys
loader = pathlib.Path(sys.argv[1]).read_bytes()
begin = loader.find(b"\xfd7zXZ\0")
if begin >= 0:
    pathlib.Path(sys.argv[2]).write_bytes(lzma.LZMADecompressor().decompress(loader[begin:]))
' "$image" "$KERNELS/new/boot/vmlinux-${image##*/vmlinuz-}"
    done
}

run_machine() {
    command="env EMULAB_TEST_ATTEMPTS=${EMULAB_TEST_ATTEMPTS:-0} EMULAB_TEST_DAY=${EMULAB_TEST_DAY:-} $(quoted "$PWD/scripts/test-vm") --guest emulated "
    for argument in "$@"; do command="$command$(quoted "$argument")"; done
    # What has not to be emulated takes no time: with a plain processor the same programs take a quarter less than
    # with QEMU's largest one, and nothing here needs mitigations.
    sh -c 'echo $$ >.cache/vm/pid && exec "$@"' sh \
        timeout --kill-after=10 "$LIMIT" .venv/bin/vng --verbose --disable-kvm --force-9p \
        --run "$(find "$kernel"/boot -name 'vmlinu[xz]-*' | sort | head -n 1)" \
        --busybox "$(find "$kernel" -name busybox -type f)" \
        --user root --cpus 1 --memory 3G --exec "$command" \
        --append mitigations=off --append loglevel=1 \
        --append watchdog_thresh=30 --append softlockup_panic=1 \
        --qemu-opts=" -cpu Nehalem" \
        --qemu-opts=" -virtfs local,path=/,mount_tag=$SHARE,security_model=none,readonly=on,multidevs=remap" \
        </dev/null 2>&1
}

# virtme-ng's own share asks the host for everything every time; with a cache Python starts ten times as fast.
enter() {
    mkdir /run/share
    mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 "$SHARE" /run/share
    in_layer "$@"
}

load() { modprobe "$@"; }
