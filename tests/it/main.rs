//! The integration tests: one binary, because linking is what costs.

mod mysql;
mod tools;

#[test]
fn smoke() {
    let t = std::time::Instant::now();
    let mut s = mysql::Options::new().max_binlog_size(1 << 20).start();
    eprintln!("start {:?}", t.elapsed());
    eprintln!(
        "{:?}",
        s.sql("select 'a\tb\n', NULL, @@version; select @@server_uuid")
    );
    assert_eq!(s.sql_value("select @@server_uuid"), s.uuid());
    let b = tools::Sysbench::write_only().events(2000);
    b.prepare(&s);
    eprintln!("prep {:?}", t.elapsed());
    b.run(&s);
    eprintln!("run {:?}", t.elapsed());
    eprintln!("{:?}", s.binlogs());
    s.restart();
    eprintln!("restart {:?}", t.elapsed());
    s.kill9();
    s.restart();
    eprintln!("kill9 restart {:?} {:?}", t.elapsed(), s.binlogs());
    eprintln!("{:?}", s.try_sql("select x"));
    eprintln!("{}", s.log());
}
