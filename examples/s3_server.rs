//! An S3 server on the loopback interface, for the demo and the benchmarks: s3s-fs in a directory.
//!
//! `s3_server DIR` prints its endpoint and the credentials that it takes, and runs until its standard input ends. For each line
//! there it prints one: what it was asked since the last, such as `HeadObject=2 PutObject=5`.

#[path = "../tests/it/s3/server.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod server;

fn main() {
    let Some(dir) = std::env::args_os().nth(1) else {
        eprintln!("usage: s3_server DIR");
        std::process::exit(2);
    };
    let server = server::S3Server::start(std::path::Path::new(&dir));
    println!(
        "endpoint={} bucket={} access_key={} secret_key={}",
        server.endpoint(),
        server::BUCKET,
        server::ACCESS_KEY,
        server::SECRET_KEY
    );
    // Whoever started it holds the other end.
    for line in std::io::stdin().lines() {
        if line.is_err() {
            return;
        }
        let asked = server.asked();
        let asked = asked
            .iter()
            .map(|(operation, times)| format!("{operation}={times}"));
        println!("{}", asked.collect::<Vec<_>>().join(" "));
    }
}
