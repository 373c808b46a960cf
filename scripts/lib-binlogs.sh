# shellcheck shell=bash
# Sourced after lib.sh by scripts that need closed binlogs of a real server.

# make_binlogs DIR: starts a MySQL server with its files in DIR/mysql, has it write three closed binlogs, and ends it.
#
# Sets server_pid while it runs: whoever is interrupted must end it.
make_binlogs() {
    local dir="$1" root="$BINLOGFS_MYSQL_ROOT" arguments tries
    arguments=(--no-defaults --user="$(id -un)" --basedir="$root/usr" --datadir="$dir/mysql"
        --lc-messages-dir="$root/usr/share/mysql" --character-sets-dir="$root/usr/share/mysql/charsets"
        --plugin-dir="$root/usr/lib/mysql/plugin" --secure-file-priv=NULL --log-error="$dir/mysqld.log" --sync-binlog=0 --innodb-flush-log-at-trx-commit=0)
    mysql_run mysqld "${arguments[@]}" --initialize-insecure --skip-log-bin || die "mysqld could not initialise: $(tail -n 5 "$dir/mysqld.log")"
    (
        exec "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/mysql/private" \
            "$root/usr/sbin/mysqld" "${arguments[@]}" --socket="$dir/mysql.sock" --pid-file="$dir/mysqld.pid" \
            --skip-networking --mysqlx=OFF --server-id=1 --log-bin=binlog
    ) >"$dir/mysqld.out" 2>&1 &
    server_pid=$!
    for ((tries = 0; tries < 300; tries++)); do
        sql "$dir" 'SELECT 1' >/dev/null 2>&1 && break
        kill -0 "$server_pid" 2>/dev/null || die "mysqld did not start: $(tail -n 5 "$dir/mysqld.log")"
        sleep 0.2
    done
    sql "$dir" 'CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT)'
    for ((tries = 0; tries < 3; tries++)); do sql "$dir" 'INSERT INTO d.t VALUES (); FLUSH BINARY LOGS'; done
    kill "$server_pid"
    wait "$server_pid" || true
    server_pid=
}

sql() {
    mysql_run mysql --no-defaults --character-sets-dir="$BINLOGFS_MYSQL_ROOT/usr/share/mysql/charsets" --user=root \
        --socket="$1/mysql.sock" --execute="$2"
}
