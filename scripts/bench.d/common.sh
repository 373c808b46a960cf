# shellcheck shell=bash
# Sourced by scripts/bench, before the benchmark: real binlogs, measuring, and what several benchmarks do.

# Eight closed segments of 64 MiB: long enough to measure, small enough to stay in the page cache.
SEGMENT_BYTES=$((64 << 20))
SEGMENTS_WANTED=8
# A load that has not filled them by then never will.
readonly LOAD_ROUNDS_MAX=120

# in_background COMMAND...: runs it, and ends as it does. A signal ends the script at once: while bash itself runs a program it hears
# of none, but 'wait' does.
in_background() {
    "$@" &
    wait "$!"
}

### The binlogs: made once, by a real server

# small_binlogs: others instead, soon made and soon read.
small_binlogs() {
    SEGMENT_BYTES=$((4 << 20))
    SEGMENTS_WANTED=4
    binlogs="$BINLOGFS_CACHE/bench-binlogs-small-1"
}

sql() { mysql_client --execute="$1"; }

mysql_client() {
    mysql_run mysql --no-defaults --character-sets-dir="$BINLOGFS_MYSQL_ROOT/usr/share/mysql/charsets" \
        --user=root --socket="$socket" --batch --skip-column-names "$@"
}

# start_mysql OPTION...: by default a server that forgets the newest transactions with its host; later options of a kind win.
start_mysql() {
    local root="$BINLOGFS_MYSQL_ROOT" arguments tries
    arguments=(--no-defaults --user="$(id -un)" --basedir="$root/usr" --datadir="$datadir"
        --lc-messages-dir="$root/usr/share/mysql" --character-sets-dir="$root/usr/share/mysql/charsets"
        --plugin-dir="$root/usr/lib/mysql/plugin" --secure-file-priv=NULL --log-error="$work/mysqld.log"
        --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=OFF --innodb-redo-log-capacity=256M --sync-binlog=0)
    mysql_run mysqld "${arguments[@]}" --initialize-insecure --skip-log-bin ||
        die "mysqld could not initialise: $(tail -n 5 "$work/mysqld.log")"
    # In the background a function runs in a subshell: exec makes its pid the server's.
    (
        exec "$root/lib64/ld-linux-x86-64.so.2" \
            --library-path "$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/mysql/private" \
            "$root/usr/sbin/mysqld" "${arguments[@]}" --socket="$socket" --pid-file="$work/mysqld.pid" \
            --skip-networking --mysqlx=OFF --server-id=1 --log-bin=binlog --max-binlog-size="$SEGMENT_BYTES" \
            --gtid-mode=ON --enforce-gtid-consistency=ON "$@"
    ) &
    server_pid=$!
    for ((tries = 0; tries < 300; tries++)); do
        sql 'SELECT 1' >/dev/null 2>&1 && return
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.2
    done
    die "mysqld did not start: $(tail -n 5 "$work/mysqld.log")"
}

stop_mysql() {
    kill "$server_pid"
    wait "$server_pid" || true
    server_pid=
}

# load ARGUMENT...: sysbench, by default oltp_write_only with 8 threads; what it says goes to $load_output.
load() {
    in_background sysbench "${load_script:-oltp_write_only}" --db-driver=mysql --mysql-socket="$socket" --mysql-user=root --mysql-db=sbtest \
        --tables=8 --table-size=50000 --threads="${load_threads:-8}" --events=0 "$@" >"${load_output:-/dev/null}"
}

make_binlogs() {
    local round closed
    [[ -e "$binlogs/$COMPLETE_MARKER" || -n "$(compgen -G "$binlogs/*.index")" ]] && return
    need_apt sysbench
    start_mysql
    sql 'CREATE DATABASE sbtest'
    load prepare
    # What the prepared tables left is a few large transactions, which is not what a server's day looks like.
    sql 'RESET BINARY LOGS AND GTIDS'
    for ((round = 0; round < LOAD_ROUNDS_MAX; round++)); do
        load --time=10 run
        closed=$(($(wc -l <"$datadir/binlog.index") - 1))
        ((closed >= SEGMENTS_WANTED)) && break
        say "$closed of $SEGMENTS_WANTED segments"
    done
    ((closed >= SEGMENTS_WANTED)) || die "the load filled only $closed segments"
    sql 'FLUSH BINARY LOGS'
    stop_mysql
    rm -rf "$binlogs"
    mkdir -p "$binlogs"
    cp "$datadir"/binlog.* "$datadir/auto.cnf" "$binlogs"
    touch "$binlogs/$COMPLETE_MARKER"
}

# closed: the binlogs that an archiver takes: all in the index but the last, which the server writes.
list_closed() {
    local index line
    index="$(compgen -G "$binlogs/*.index" | head -n 1)"
    closed=()
    while read -r line; do closed+=("$binlogs/${line##*/}"); done < <(head -n -1 "$index")
    ((${#closed[@]})) || die "no closed binlog in $index"
    bytes="$(cat "${closed[@]}" | wc -c)"
    say "${#closed[@]} binlogs, $((bytes / 1000000)) MB"
}

### Measuring

# record WHAT COMMAND...: runs it, without its output, and notes how many seconds it took, as WHAT, and of how many
# processors' time, as WHAT.cpu.
record() {
    local what="$1" took user system LC_ALL=C TIMEFORMAT='%R %U %S'
    shift
    { time in_background "$@" >/dev/null 2>"$work/stderr"; } 2>"$work/time" || die "failed: $*: $(tail -n 5 "$work/stderr")"
    read -r took user system <"$work/time"
    note "$what" "$took"
    note "$what.cpu" "$(calculate "$user + $system")"
}

note() { printf '%s\n' "$2" >>"$work/runs.$1"; }

# median: of the numbers on standard input.
median() { LC_ALL=C sort -g | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }

# median_of WHAT: the median of the runs recorded under that name.
median_of() { median <"$work/runs.$1"; }

calculate() { LC_ALL=C awk "BEGIN { printf \"%.${2:-3}f\", $1 }"; }

# median_ratio A B: the median over the runs of A / B, each pair measured one after the other.
median_ratio() { paste "$work/runs.$1" "$work/runs.$2" | LC_ALL=C awk '{ print $1 / $2 }' | median; }

# result KEY VALUE TEXT: what is measured, for people and for programs.
results=()
result() {
    if [[ -n "$json" ]]; then
        results+=("\"$1\": $2")
    else
        printf '%-64s %s\n' "$3" "$2"
    fi
}

print_results() {
    local IFS=,
    [[ -z "$json" ]] || printf '{%s}\n' "${results[*]}"
}

# evict FILE...: takes them out of the page cache, as nobody but their reader would have them.
evict() {
    local file
    for file in "$@"; do dd if="$file" iflag=nocache count=0 status=none; done
}

warm() { cat "$@" >/dev/null; }

mysqlbinlog() {
    mysql_run mysqlbinlog --no-defaults --character-sets-dir="$BINLOGFS_MYSQL_ROOT/usr/share/mysql/charsets" "$@"
}

megabytes() { calculate "$1 / 1e6" 0; }

### An archive and a mount

archive() {
    local level="$1" threads="$2"
    "$release/binlogfs" archive --source "$binlogs" --to "file://$work/bucket" --state-dir "$work/state" --once \
        --recipient "$recipient" --level "$level" --threads "$threads"
}

make_key() {
    "$release/binlogfs" keygen >"$work/key"
    recipient="$(grep -o -m1 'age1[0-9a-z]*' "$work/key")"
}

mount_archive() {
    mkdir -p "$mount_dir"
    "$release/binlogfs" mount "file://$work/bucket" "$mount_dir" --identity "$work/key" --cache-dir "$work/cache"
}

unmount() {
    if mountpoint -q "$mount_dir" 2>/dev/null; then umount "$mount_dir" || umount -l "$mount_dir"; fi
}
