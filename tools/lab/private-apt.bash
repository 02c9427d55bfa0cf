# Sourced by fetch-drivers and build-intel-shim: an apt root of our own, so that Debian packages can be
# downloaded for any architecture and suite while the machine's own apt and dpkg state stays untouched.
# No root needed. The sourcing script sets $program, its name in messages.
# shellcheck shell=bash

die() {
    echo "$program: $*" >&2
    exit 1
}

need_commands() { # COMMAND...
    local missing=() command
    for command in "$@"; do
        command -v "$command" >/dev/null 2>&1 || missing+=("$command")
    done
    ((${#missing[@]} == 0)) || die "not found on this machine: ${missing[*]}"
}

machine_apt_config=${APT_CONFIG:-}

# The mirror is the one that this machine's own apt uses: the first URI of its sources that ends in /debian.
debian_mirror() {
    local uri
    uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        grep -vE '^[[:space:]]*#' | grep -oE '[a-z+]+:/[^][[:space:]]*/debian/?([[:space:]]|$)' | head -n 1) || true
    uri=${RAPT_LAB_MIRROR:-${uri%[[:space:]]}}
    [[ -n $uri ]] || die "no Debian mirror among this machine's apt sources; name one in RAPT_LAB_MIRROR"
    printf '%s\n' "${uri%/}"
}

# Make the apt root DIR and fetch its package lists; exports APT_CONFIG, so that apt commands work in it.
private_apt_root() { # DIR ARCHITECTURE "deb[ deb-src]" SUITE...
    local dir=$1 arch=$2 types=$3 type suite mirror
    shift 3
    local key=/usr/share/keyrings/debian-archive-keyring.gpg
    [[ -r $key ]] || die "no $key (package debian-archive-keyring)"
    mirror=$(debian_mirror)
    mkdir -p "$dir"/etc/apt/{apt.conf.d,preferences.d,sources.list.d,trusted.gpg.d} \
        "$dir"/var/lib/apt/lists/partial "$dir"/var/cache/apt/archives/partial "$dir"/var/lib/dpkg
    : >"$dir/var/lib/dpkg/status"
    for suite in "$@"; do
        for type in $types; do
            echo "$type [signed-by=$key] $mirror $suite main"
        done
    done >"$dir/etc/apt/sources.list"
    {
        # how this machine reaches its mirrors (proxies, certificates, credentials) stays as it is
        APT_CONFIG=$machine_apt_config apt-config dump | grep -E '^Acquire::(http|https)::' || true
        cat <<CONF
Dir "$dir";
Dir::State::status "$dir/var/lib/dpkg/status";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
CONF
    } >"$dir/apt.conf"
    export APT_CONFIG=$dir/apt.conf
    apt-get -qq -o APT::Update::Error-Mode=any update ||
        die "cannot fetch the package lists of $* ($arch) from this machine's mirror"
}

# Download packages and all that they depend on, in the apt root that private_apt_root made.
download_packages() { # SUITE PACKAGE...
    local suite=$1
    shift
    apt-get -qq install -y --download-only -t "$suite" "$@" >/dev/null ||
        die "cannot download from $suite: $*"
}

# Unpack every downloaded package into ROOT; no maintainer script runs.
unpack_packages() { # APT_ROOT ROOT
    local root=$2 deb libdir
    for deb in "$1"/var/cache/apt/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" |
            tar -x -C "$root" --keep-directory-symlink \
                --exclude=./usr/share/doc --exclude=./usr/share/locale --exclude=./usr/share/man
    done
    for libdir in lib lib64; do # Debian 12's packages still hold files outside usr; where none does, link
        if [[ -e $root/usr/$libdir && ! -e $root/$libdir ]]; then
            ln -s "usr/$libdir" "$root/$libdir"
        fi
    done
}
