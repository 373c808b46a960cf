//! Servers that do not answer, or not in time.

use super::{PATIENCE, by_socket, by_tcp};
use crate::mysql::Server as MySql;
use crate::tools;
use binlogfs::source::server::{Server, ServerError, ServerOptions, TlsMode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

/// Passes bytes between a client and a server's socket; holds back what the server says to SHOW BINARY LOGS while told to.
async fn proxy(socket: std::path::PathBuf, held: watch::Receiver<bool>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("binds");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // What the server says in two pieces comes as soon as by the socket.
            let _ = client.set_nodelay(true);
            let server = tokio::net::UnixStream::connect(&socket)
                .await
                .expect("connects");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let asked = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let (seen, mut held) = (Arc::clone(&asked), held.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
                    let is_list = buffer[..n].windows(16).any(|w| w == b"SHOW BINARY LOGS");
                    seen.fetch_or(is_list, std::sync::atomic::Ordering::SeqCst);
                    if to_server.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
            });
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                    if asked.load(std::sync::atomic::Ordering::SeqCst) {
                        let _ = held.wait_for(|held| !held).await;
                    }
                    if to_client.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_an_answer_is_given_up_and_not_sent_twice() {
    let mysql = MySql::new();
    mysql.sql("CREATE USER w@localhost IDENTIFIED WITH caching_sha2_password; GRANT REPLICATION CLIENT ON *.* TO w@localhost");
    let (hold, held) = watch::channel(true);
    let port = proxy(mysql.socket(), held).await;
    let server = Server::new(ServerOptions {
        password: None,
        ..by_tcp(port, "w", TlsMode::Disabled)
    });
    let connections = || {
        let count = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'w'";
        mysql.sql_value(count).parse::<u32>().expect("a number")
    };
    let error = server.binary_logs().await.expect_err("held back");
    assert!(matches!(error, ServerError::Timeout { .. }), "{error}");
    for _ in 0..3 {
        let error = server.binary_logs().await.expect_err("still held back");
        assert!(matches!(error, ServerError::StillWaiting { .. }), "{error}");
        // Another question has a connection of its own, and its own answer.
        let facts = server.facts().await.expect("answers");
        assert_eq!(
            facts.server_uuid().map(|u| u.to_string()),
            Some(mysql.uuid())
        );
        assert_eq!(connections(), 2);
    }
    mysql.flush_logs();
    hold.send(false).expect("the proxy lives");
    let start = Instant::now();
    let logs = loop {
        match server.binary_logs().await {
            Ok(logs) => break logs,
            Err(ServerError::StillWaiting { .. }) if start.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(e) => panic!("{e}"),
        }
    };
    // The answer of now, not the one that was held back.
    assert_eq!(logs.len(), mysql.binlogs().len());
    while connections() > 1 {
        assert!(start.elapsed() < PATIENCE, "the old connection is closed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether each thread of a process is stopped by a signal (proc_pid_stat(5): state T, behind the name in brackets).
fn is_stopped(pid: rustix::process::Pid) -> bool {
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    let mut tasks = std::fs::read_dir(tasks).expect("it lives");
    tasks.all(|task| {
        let stat = task.map(|task| std::fs::read_to_string(task.path().join("stat")));
        let stat = stat.and_then(|stat| stat).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('T'))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_left_alone_and_answers_when_it_is_back() {
    let mysql = MySql::new();
    mysql.sql("CREATE USER w@localhost; GRANT REPLICATION CLIENT ON *.* TO w@localhost");
    let server = by_socket(&mysql.socket(), "w", "");
    let before = server.binary_logs().await.expect("listed");
    let pid = rustix::process::Pid::from_raw(mysql.pid().expect("it runs") as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("ours");
    // A thread stops when it next looks at signals: until then it could still answer.
    tools::eventually("all its threads stand still", || is_stopped(pid));
    let frozen = server.binary_logs().await.expect_err("frozen");
    let resting = server.facts().await.expect_err("left alone");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("ours");
    assert!(matches!(frozen, ServerError::Connect { .. }), "{frozen}");
    assert!(matches!(resting, ServerError::Resting { .. }), "{resting}");
    let start = Instant::now();
    let after = loop {
        match server.binary_logs().await {
            Ok(logs) => break logs,
            Err(ServerError::Resting { pause, .. }) if start.elapsed() < PATIENCE => {
                tokio::time::sleep(pause).await;
            }
            // On a busy machine, one that has just woken up takes its time.
            Err(ServerError::Timeout { .. } | ServerError::StillWaiting { .. })
                if start.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(e) => panic!("{e}"),
        }
    };
    assert_eq!(before, after);
    let count = "SELECT COUNT(*) FROM information_schema.processlist WHERE user IN ('w', 'unauthenticated user')";
    while mysql.sql_value(count) != "1" {
        assert!(
            start.elapsed() < PATIENCE,
            "given-up connections are closed"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
