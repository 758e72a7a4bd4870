//! What may be typed: the options of the server; pure.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::calendar::Instant;
use crate::ping;

/// What `--help` says.
pub(crate) const HELP: &str = "\
The small ssh server that vial puts into pods: keys only, any image, no files of its own.

Usage: vial-sshd [OPTIONS] [-- COMMAND [ARGS]...]
       vial-sshd install DIR
       vial-sshd ping [--count NUMBER] [--timeout MILLISECONDS] [--json] TARGET...

COMMAND is the container's own entry point. With it the server starts and supervises it, and ends with its exit code.
install puts this program, a busybox that lies beside it or in /, and links to both into DIR, where pods look for them.
ping asks all TARGETs at once: icmp:ADDRESS, where neither a ping socket nor a raw one is permitted a connection to its
port 22; tcp:HOST:PORT.

Options:
  --listen ADDRESS          where to listen, without a port too                 [default: every address]
  --port PORT               0 takes a free one                                  [default: 22]
  --host-key PATH           a private key, or a directory of ssh_host_*_key;    [default: /vial/keys]
                            may be given again
  --authorized-keys FILE    who may log in; read at every login                 [default: /vial/keys/authorized_keys]
  --user-ca FILE            public keys whose user certificates are good        [default: /vial/keys/user_ca.pub,
                                                                                 where it exists]
  --user NAME               a user beside root, made when it is not there
  --uid NUMBER              its number                                          [default: a free one from 1000]
  --home DIR                its home                                            [default: /home/NAME]
  --shell PATH              its shell                                           [default: bash, else sh]
  --busybox PATH            a static busybox, the shell of images without one   [default: busybox beside this program]
  --max-startups NUMBER     clients that have not logged in yet                 [default: 32]
  --max-tries NUMBER        keys a client may try                               [default: 20]
  --login-grace SECONDS     for logging in                                      [default: 60]
  --detach                  serve in the background, beside what runs here; the
                            call ends as soon as clients are taken, or with what
                            is wrong, and does nothing where one serves already
  --expires TIME            when this pod is removed, as in 2026-11-21T23:00:00Z:
                            people at terminals are told in time
  -h, --help
  -V, --version

Exit codes: 0 after SIGTERM, 1 cannot serve, 2 wrong arguments; with COMMAND: its code, 128 + signal, 126 or 127 when it
cannot be started. install: 1 when it cannot. ping: 1 when a request had no answer.

Examples:
  vial-sshd --user ann
  vial-sshd --port 2222 --host-key ./ssh_host_ed25519_key --authorized-keys ~/.ssh/authorized_keys
  vial-sshd --user ann -- nginx -g 'daemon off;'
  vial-sshd --user ann --detach
  vial-sshd ping --count 5 icmp:10.244.1.7 tcp:db.default.svc.cluster.local:5432
";

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) listen: SocketAddr,
    pub(crate) host_keys: Vec<PathBuf>,
    pub(crate) authorized_keys: PathBuf,
    pub(crate) user_ca: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) home: Option<PathBuf>,
    pub(crate) shell: Option<PathBuf>,
    pub(crate) busybox: Option<PathBuf>,
    pub(crate) max_startups: usize,
    pub(crate) max_tries: usize,
    pub(crate) login_grace: Duration,
    /// Whether to serve in the background.
    pub(crate) detach: bool,
    /// When the pod is removed.
    pub(crate) expires: Option<Instant>,
    pub(crate) command: Vec<OsString>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Serve(Box<Args>),
    /// Copy the programs into a directory.
    Install(PathBuf),
    /// See whether others answer.
    Ping(ping::Args),
    Help,
    Version,
}

/// Reads the arguments after the program's name; the error is a line for the person.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Wish, String> {
    let mut arguments = arguments.into_iter().peekable();
    match arguments.peek().and_then(|first| first.to_str()) {
        Some("install") => return install(arguments.skip(1)),
        Some("ping") => return ping::parse(arguments.skip(1)),
        _ => {}
    }
    let (mut address, mut port) = (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 22);
    let mut args = Args {
        listen: SocketAddr::new(address, port),
        host_keys: Vec::new(),
        authorized_keys: "/vial/keys/authorized_keys".into(),
        user_ca: None,
        user: None,
        uid: None,
        home: None,
        shell: None,
        busybox: None,
        max_startups: 32,
        max_tries: 20,
        login_grace: Duration::from_secs(60),
        detach: false,
        expires: None,
        command: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let (name, mut inline) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => {
                (name.to_owned(), Some(OsString::from(value)))
            }
            _ => (text.clone(), None),
        };
        let mut value = || {
            let value = inline.take().or_else(|| arguments.next());
            value.ok_or_else(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "-h" | "--help" => return Ok(Wish::Help),
            "-V" | "--version" => return Ok(Wish::Version),
            "--listen" => address = parsed(&name, value()?)?,
            "--port" => port = parsed(&name, value()?)?,
            "--host-key" => args.host_keys.push(value()?.into()),
            "--authorized-keys" => args.authorized_keys = value()?.into(),
            "--user-ca" => args.user_ca = Some(value()?.into()),
            "--user" => args.user = Some(user_name(value()?)?),
            "--uid" => args.uid = Some(parsed(&name, value()?)?),
            "--home" => args.home = Some(absolute(&name, value()?)?),
            "--shell" => args.shell = Some(absolute(&name, value()?)?),
            "--busybox" => args.busybox = Some(absolute(&name, value()?)?),
            "--max-startups" => args.max_startups = parsed(&name, value()?)?,
            "--max-tries" => args.max_tries = parsed(&name, value()?)?,
            "--login-grace" => args.login_grace = Duration::from_secs(parsed(&name, value()?)?),
            "--detach" => args.detach = true,
            "--expires" => args.expires = Some(parsed(&name, value()?)?),
            "--" => {
                args.command = arguments.collect();
                if args.command.is_empty() {
                    return Err("-- needs a command after it".into());
                }
                break;
            }
            _ => return Err(format!("unknown argument {text}")),
        }
    }
    if args.detach && !args.command.is_empty() {
        return Err(
            "--detach is for a server beside an entry point, -- for one that starts it".into(),
        );
    }
    if args.host_keys.is_empty() {
        args.host_keys.push("/vial/keys".into());
    }
    args.listen = SocketAddr::new(address, port);
    Ok(Wish::Serve(Box::new(args)))
}

fn install(mut arguments: impl Iterator<Item = OsString>) -> Result<Wish, String> {
    match (arguments.next(), arguments.next()) {
        (Some(help), None) if help == "-h" || help == "--help" => Ok(Wish::Help),
        (Some(directory), None) => Ok(Wish::Install(directory.into())),
        _ => Err("install needs one directory".into()),
    }
}

pub(crate) fn parsed<T: std::str::FromStr>(name: &str, value: OsString) -> Result<T, String> {
    let text = value.to_string_lossy();
    text.parse()
        .map_err(|_| format!("{name} cannot be {text:?}"))
}

fn user_name(value: OsString) -> Result<String, String> {
    let name = value.to_string_lossy().into_owned();
    if crate::users::is_name(&name) {
        Ok(name)
    } else {
        Err(format!(
            "--user cannot be {name:?}: small letters, digits, -, _ and ., 32 at most, no digit first"
        ))
    }
}

/// A path without what would break a line of passwd(5).
fn absolute(name: &str, value: OsString) -> Result<PathBuf, String> {
    let path = PathBuf::from(&value);
    let text = value.to_string_lossy();
    if path.is_absolute() && !text.contains([':', '\n']) {
        Ok(path)
    } else {
        Err(format!("{name} cannot be {text:?}: not an absolute path"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Result<Args, String> {
        match parse(words.iter().map(OsString::from))? {
            Wish::Serve(args) => Ok(*args),
            wish => panic!("{wish:?}"),
        }
    }

    #[test]
    fn nothing_is_needed() {
        let args = args(&[]).unwrap();
        assert_eq!(args.listen.to_string(), "[::]:22");
        assert_eq!(args.host_keys, [PathBuf::from("/vial/keys")]);
    }

    #[test]
    fn values_come_after_a_blank_or_an_equals_sign() {
        let args = args(&["--port=2222", "--user", "ann", "--listen", "127.0.0.1"]).unwrap();
        assert_eq!(args.listen.to_string(), "127.0.0.1:2222");
        assert_eq!(args.user.as_deref(), Some("ann"));
    }

    #[test]
    fn what_follows_two_dashes_is_the_entry_point() {
        let args = args(&["--", "sh", "-c", "--port"]).unwrap();
        assert_eq!(args.command, ["sh", "-c", "--port"]);
    }

    #[test]
    fn other_work_than_serving_comes_first() {
        let wish = |words: &[&str]| parse(words.iter().map(OsString::from));
        assert_eq!(
            wish(&["install", "/vial/bin"]),
            Ok(Wish::Install("/vial/bin".into()))
        );
        assert!(matches!(wish(&["ping", "icmp:::1"]), Ok(Wish::Ping(_))));
        assert!(wish(&["--detach", "install", "/vial/bin"]).is_err());
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (words, expected) in [
            (&["--port", "70000"][..], "--port cannot be \"70000\""),
            (&["--port"], "--port needs a value"),
            (&["--user", "a:b"], "--user cannot be \"a:b\""),
            (&["--shell", "sh"], "not an absolute path"),
            (&["--home", "/a:b"], "not an absolute path"),
            (&["--what"], "unknown argument --what"),
            (&["--"], "needs a command"),
            (&["--expires", "soon"], "--expires cannot be \"soon\""),
            (&["--detach", "--", "sh"], "--detach is for"),
            (&["install"], "install needs one directory"),
            (&["install", "/a", "/b"], "install needs one directory"),
        ] {
            let error = args(words).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
