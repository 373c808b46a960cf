//! moto_server: another S3 server, with one winner of many conditional creates by itself. It keeps everything in memory.

use super::server::{Account, BUCKET, REGION};
use crate::tools;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than its start takes on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A running server with an empty bucket; dropped, it ends.
pub struct Moto {
    child: Child,
    endpoint: String,
}

impl Moto {
    /// Starts one that speaks HTTP.
    pub fn start() -> Moto {
        let moto = Moto::start_with("http", &[]);
        moto.make_bucket();
        moto
    }

    /// Starts one whose bucket was made with Object Lock, and so keeps versions.
    pub fn start_locking() -> Moto {
        let moto = Moto::start_with("http", &[]);
        moto.boto3("s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)");
        moto
    }

    /// Mode and end of the lock of the object with this full name.
    pub fn lock_of(&self, name: &str) -> String {
        let line = format!(
            "found = s3.head_object(Bucket=bucket, Key='{name}')\nprint(found.get('ObjectLockMode'), found.get('ObjectLockRetainUntilDate'))"
        );
        self.boto3(&line).trim().to_owned()
    }

    /// Deletes an object's version by hand: the code of the server's refusal, or nothing.
    pub fn delete_version(&self, name: &str) -> String {
        let line = format!(
            "version = s3.head_object(Bucket=bucket, Key='{name}')['VersionId']\ntry:\n    s3.delete_object(Bucket=bucket, Key='{name}', \
             VersionId=version)\nexcept Exception as e:\n    print(e.response['Error']['Code'])"
        );
        self.boto3(&line).trim().to_owned()
    }

    /// Deletes an object by hand, as most would.
    pub fn delete(&self, name: &str) {
        self.boto3(&format!("s3.delete_object(Bucket=bucket, Key='{name}')"));
    }

    /// How many versions there are of an object; delete markers are none.
    pub fn versions(&self, name: &str) -> usize {
        let line = format!(
            "found = s3.list_object_versions(Bucket=bucket, Prefix='{name}')\nprint(len(found.get('Versions', [])))"
        );
        self.boto3(&line).trim().parse().expect("a number")
    }

    /// Takes an object off legal hold by hand.
    pub fn end_legal_hold(&self, name: &str) {
        let off = "{'Status': 'OFF'}";
        self.boto3(&format!(
            "s3.put_object_legal_hold(Bucket=bucket, Key='{name}', LegalHold={off})"
        ));
    }

    /// Starts one that speaks HTTPS with a certificate that nobody trusts.
    pub fn start_with_own_certificate() -> Moto {
        Moto::start_with("https", &["--ssl"])
    }

    /// Starts one with a bucket `NAME-binlogs` for each tenant and a user who may do everything in it, by a policy of IAM. From then
    /// on it checks every signature, and refuses what no policy allows.
    pub fn start_for(tenants: &[&str]) -> (Moto, Vec<Account>) {
        let moto = Moto::start_with("http", &[]);
        let lines = format!(
            "import json, urllib.request\niam = boto3.client('iam', endpoint_url=sys.argv[1], region_name=sys.argv[3])\n\
             for name in {tenants:?}:\n    bucket = name + '-binlogs'\n    s3.create_bucket(Bucket=bucket)\n    iam.create_user(UserName=name)\n\
             \x20   arn = 'arn:aws:s3:::' + bucket\n    allow = dict(Effect='Allow', Action='s3:*', Resource=[arn, arn + '/*'])\n\
             \x20   policy = json.dumps(dict(Version='2012-10-17', Statement=[allow]))\n\
             \x20   iam.put_user_policy(UserName=name, PolicyName='own', PolicyDocument=policy)\n\
             \x20   key = iam.create_access_key(UserName=name)['AccessKey']\n    print(key['AccessKeyId'], key['SecretAccessKey'])\n\
             plain = dict([('Content-Type', 'text/plain')])\n\
             reset = urllib.request.Request(sys.argv[1] + '/moto-api/reset-auth', data=b'0', headers=plain)\n\
             urllib.request.urlopen(reset)"
        );
        let made = moto.boto3(&lines);
        let account = |(tenant, line): (&&str, &str)| {
            let (access_key, secret_key) = line.split_once(' ').expect("a key and its secret");
            Account {
                access_key: access_key.to_owned(),
                secret_key: secret_key.to_owned(),
                prefix: (*tenant).to_owned(),
            }
        };
        let accounts = tenants.iter().zip(made.lines()).map(account).collect();
        (moto, accounts)
    }

    /// Where it is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn start_with(scheme: &str, options: &[&str]) -> Moto {
        let address = free_address();
        let child = Command::new(program("moto_server"))
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let moto = Moto {
            child,
            endpoint: format!("{scheme}://{address}"),
        };
        wait_for(address);
        moto
    }

    /// The URL of `prefix` in its bucket.
    pub fn url(&self, prefix: &str) -> String {
        super::server::url(&self.endpoint, prefix)
    }

    fn make_bucket(&self) {
        // Our own client makes no buckets.
        self.boto3("s3.create_bucket(Bucket=bucket)");
    }

    /// How many multipart uploads are neither completed nor aborted.
    pub fn unfinished_uploads(&self) -> usize {
        let count =
            self.boto3("print(len(s3.list_multipart_uploads(Bucket=bucket).get('Uploads', [])))");
        count.trim().parse().expect("a number")
    }

    /// How many objects there are below `prefix`.
    pub fn count(&self, prefix: &str) -> usize {
        let pages = "s3.get_paginator('list_objects_v2').paginate(Bucket=bucket, Prefix=prefix)";
        let line = format!("prefix = '{prefix}'\nprint(sum(p['KeyCount'] for p in {pages}))");
        self.boto3(&line).trim().parse().expect("a number")
    }

    /// Storage class, encryption and key of the object with this full name, as another client is told.
    pub fn described(&self, name: &str) -> String {
        let fields = ["StorageClass", "ServerSideEncryption", "SSEKMSKeyId"];
        let told = fields
            .map(|field| format!("found.get('{field}')"))
            .join(", ");
        let line = format!("found = s3.head_object(Bucket=bucket, Key='{name}')\nprint({told})");
        self.boto3(&line).trim().to_owned()
    }

    /// Runs a line of Python with another client of S3, `s3`, and the bucket's name, `bucket`; what it prints.
    fn boto3(&self, line: &str) -> String {
        let program_text = format!(
            "import boto3, sys\ns3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name=sys.argv[3])\nbucket = sys.argv[2]\n{line}"
        );
        tools::run_text(
            Command::new(program("python"))
                .args(["-c", &program_text, &self.endpoint, BUCKET, REGION])
                .envs(super::credentials()),
        )
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of the Python environment that `scripts/test` makes.
pub fn program(name: &str) -> std::path::PathBuf {
    let path = tools::cache_dir().join("peers/bin").join(name);
    assert!(
        path.exists(),
        "{} is missing: run the tests with scripts/test, which installs it",
        path.display()
    );
    path
}

/// An address that is free now.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

/// Waits until something listens there.
pub fn wait_for(address: SocketAddr) {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < START_MAX, "nothing listens on {address}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
