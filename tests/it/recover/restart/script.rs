//! What an administrator has to restart a server with, and what makes it stop in the middle of that.

use super::super::gate;
use crate::mysql::Server;
use crate::tools;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// An administrator's script for a server. It ends with the server that it has started; dropped, that is ended.
pub struct Script<'a> {
    server: &'a Server,
    path: PathBuf,
}

impl<'a> Script<'a> {
    pub fn of(server: &'a Server) -> Script<'a> {
        let path = server.path("restart");
        let words: Vec<String> = server
            .words()
            .iter()
            .map(|word| format!("'{word}'"))
            .collect();
        // Nobody may have waited for the first one, which the test has started. What is started here ends with the test.
        let text = format!(
            "#!/bin/sh\n\
             echo \"$MYSQLD_OPTS\" >>'{path}.log'\n\
             if pid=$(cat '{pid_file}'); then\n\
             kill \"$pid\"\n\
             while [ -d /proc/$pid ] && ! grep -q '^State:[[:space:]]*Z' /proc/$pid/status; do sleep 0.05; done\n\
             rm -f '{socket}.lock'\n\
             fi\n\
             {words} $MYSQLD_OPTS </dev/null &\n\
             new=$!\n\
             (while [ -d /proc/{test} ] && [ -d /proc/$new ]; do sleep 0.5; done; kill -9 $new) >/dev/null 2>&1 &\n\
             [ ! -e '{path}.hook' ] || . '{path}.hook'\n",
            path = path.display(),
            pid_file = server.path("mysqld.pid").display(),
            // It names the process, which nobody may have waited for; the next server would take that for one that runs.
            socket = server.path("mysql.sock").display(),
            words = words.join(" "),
            test = std::process::id(),
        );
        tools::write_program(&path, &text);
        Script { server, path }
    }

    pub fn command(&self) -> String {
        format!("'{}'", self.path.display())
    }

    /// What it does at its end.
    pub fn hook(&self, text: &str) {
        fs::write(self.path.with_extension("hook"), text).expect("writable");
    }

    /// Runs it as the administrator does.
    pub fn run(&self) {
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.command()])
            .env_remove("MYSQLD_OPTS");
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        assert!(command.status().expect("runs").success());
        self.is_up();
    }

    /// The same after the server was killed.
    pub fn run_after_a_crash(&self) {
        self.kill();
        self.run();
    }

    /// Kills the server that it has started.
    fn kill(&self) {
        let Ok(pid) = fs::read_to_string(self.server.path("mysqld.pid")) else {
            return;
        };
        let cmdline = fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        let ours = self.server.datadir().display().to_string();
        if String::from_utf8_lossy(&cmdline).contains(&ours) {
            let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        }
    }

    pub fn is_up(&self) {
        // One that was killed comes back by way of its crash recovery, on a busy host in more than 20 s.
        let begun = Instant::now();
        while let Err(error) = self.server.try_sql("DO 1") {
            let log = || fs::read_to_string(self.server.path("error.log")).unwrap_or_default();
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "{error}: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The options of each of its runs, since the last look.
    pub fn runs(&self) -> Vec<String> {
        let log = self.path.with_extension("log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Script<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a hook shuts the gate with, once the server answers.
pub fn gate_hook(server: &Server) -> String {
    let client = server.client();
    let words: Vec<String> = std::iter::once(client.get_program())
        .chain(client.get_args())
        .map(|word| format!("'{}'", word.to_str().expect("text")))
        .collect();
    let client = words.join(" ");
    format!(
        "until {client} -e 'DO 1' 2>/dev/null; do sleep 0.05; done\n\
         {client} --batch --unbuffered -e \"SET SESSION wait_timeout = 600; LOCK TABLES {table} WRITE; SELECT 'shut'; DO SLEEP(500)\" >'{out}' 2>&1 &\n\
         until grep -q shut '{out}'; do sleep 0.05; done\n\
         rm '{hook}'\n",
        table = gate::TABLE,
        out = server.path("gate").display(),
        hook = server.path("restart.hook").display(),
    )
}

/// Lets who waits for it go on.
pub fn open_gate(server: &Server) {
    let sessions = server.sql("SHOW PROCESSLIST");
    let holds = |session: &&Vec<String>| session.iter().any(|field| field == "DO SLEEP(500)");
    for session in sessions.iter().filter(holds) {
        server.sql(&format!("KILL {}", session[0]));
    }
}
