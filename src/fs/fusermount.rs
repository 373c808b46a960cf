//! Mounting without root, through fusermount3(1): a program with the set-user-ID bit that asks what we may do.

use super::mounting::{MAX_READ_BYTES, MountError, MountOptions};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = "fusermount3";
/// Names the file descriptor, of a socket, that it sends the device through.
const SOCKET_VARIABLE: &str = "_FUSE_COMMFD";

/// Mounts on `options.target` and returns the FUSE device to serve it from.
///
/// # Errors
/// [`MountError::NotPermitted`] with what fusermount3 says; [`MountError::System`].
pub fn mount(options: &MountOptions) -> Result<OwnedFd, MountError> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| MountError::system("cannot make a socket", e))?;
    let mut command = Command::new(PROGRAM);
    command
        .arg("-o")
        .arg(option_text(options))
        .arg("--")
        .arg(&options.target)
        .env(SOCKET_VARIABLE, "0")
        .stdin(theirs);
    run(&mut command, &options.target)?;
    drop(command);
    receive(&ours)
        .map_err(|error| MountError::system(format!("{PROGRAM} gave no FUSE device"), error))
}

/// Takes the mount at `target` away from the tree, also while files are open in it.
///
/// # Errors
/// As [`mount`].
pub fn unmount(target: &Path) -> Result<(), MountError> {
    let mut command = Command::new(PROGRAM);
    command.args(["-u", "-z", "--"]).arg(target);
    run(command.stdin(Stdio::null()), target)
}

fn option_text(options: &MountOptions) -> String {
    let source = options.source.replace('\\', "\\\\").replace(',', "\\,");
    let mut text = format!(
        "ro,nosuid,nodev,default_permissions,max_read={MAX_READ_BYTES},subtype=binlogfs,fsname={source}"
    );
    if options.allow_other {
        text += ",allow_other";
    }
    if options.noexec {
        text += ",noexec";
    }
    text
}

/// Runs it to its end; what it has to say becomes the error.
fn run(command: &mut Command, target: &Path) -> Result<(), MountError> {
    let refuse = |reason: String| MountError::NotPermitted {
        target: target.to_owned(),
        reason,
    };
    let Output { status, stderr, .. } = match command.stdout(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refuse(format!(
                "without root it takes {PROGRAM}, which is not installed (package fuse3); install it, or mount as root"
            )));
        }
        Err(error) => return Err(MountError::system(format!("cannot run {PROGRAM}"), error)),
    };
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&stderr);
    let said: Vec<_> = said.lines().map(str::trim).collect();
    Err(refuse(said.join("; ")))
}

/// Takes the file descriptor out of the one message that was sent.
fn receive(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let sent = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    sent.ok_or_else(|| io::Error::other("no file descriptor was sent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_the_source_adds_no_option() {
        let options = MountOptions {
            target: "/mnt".into(),
            source: r"s3://a,suid\b".to_owned(),
            allow_other: true,
            noexec: false,
        };
        let text = option_text(&options);
        assert!(
            text.ends_with(r",fsname=s3://a\,suid\\b,allow_other"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_to_be_executed_is_said() {
        let options = MountOptions {
            target: "/mnt".into(),
            source: "s3://a".to_owned(),
            allow_other: false,
            noexec: true,
        };
        let text = option_text(&options);
        assert!(text.ends_with(",fsname=s3://a,noexec"), "{text}");
    }
}
