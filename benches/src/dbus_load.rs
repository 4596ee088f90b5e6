//! A load of D-Bus calls by zbus's client, over a bus of our own.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use futures_util::future::try_join_all;
use zbus::Connection;
use zbus::connection::Builder;

use crate::baseline::dbus::{CALLS, NAME, PATH};
use crate::connections::{Left, take};
use crate::pin::{Cpus, run_on};
use crate::process::{Child, PATIENCE};
use crate::suite::{Failure, Sample};

/// Makes the command of a service on the bus at that address.
pub type OnBus = fn(&str) -> Result<Command, Failure>;

/// Starts the service on one CPU, and loads it with `n` calls from another, where the bus runs too; returns its CPU
/// time for each call.
pub fn cpu_per_call(program: OnBus, n: u32) -> Result<Sample, Failure> {
    let cpus = Cpus::get();
    let bus = run_on(cpus.second, Bus::start)?;
    let address = bus.address.clone();
    let service = run_on(cpus.first, move || {
        let mut command = program(&address)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Child::spawn(&mut command)
    })?;
    run_on(cpus.second, move || {
        zbus::block_on(async {
            let connection = Builder::address(&*bus.address).method_timeout(PATIENCE).build().await?;
            until_it_is_there(&connection).await?;
            calls(&connection, (n / 10).max(CALLS as u32)).await?;
            let (before, begin) = (service.cpu_time()?, Instant::now());
            calls(&connection, n).await?;
            let elapsed = begin.elapsed();
            Ok(Sample::of_cpu(n, service.cpu_time()? - before, elapsed))
        })
    })
}

/// A dbus-daemon, which is killed and waited for when this is dropped.
struct Bus {
    address: String,
    socket: PathBuf,
    _daemon: Child,
}

impl Drop for Bus {
    fn drop(&mut self) {
        // The daemon has no time to remove it.
        let _ = fs::remove_file(&self.socket);
    }
}

impl Bus {
    fn start() -> Result<Self, Failure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let config = env::current_exe()?.with_extension(format!("{count}.conf"));
        let socket = env::temp_dir().join(format!("interloop-bench-{}-{count}", std::process::id()));
        let text = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
                "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
            <busconfig>
              <listen>unix:path={}</listen>
              <policy context="default">
                <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/>
              </policy>
            </busconfig>"#,
            socket.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("dbus-daemon");
        command.arg("--config-file").arg(&config).args(["--nofork", "--nopidfile", "--nosyslog", "--print-address"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut daemon = Child::spawn(&mut command)?;
        let mut said = String::new();
        BufReader::new(daemon.stdout()?).read_line(&mut said)?;
        fs::remove_file(config)?;
        let bus = Self { address: said.trim().to_owned(), socket, _daemon: daemon };
        if bus.address.is_empty() { Err("dbus-daemon says no address".into()) } else { Ok(bus) }
    }
}

/// Calls until there is an answer.
async fn until_it_is_there(connection: &Connection) -> Result<(), Failure> {
    let begin = Instant::now();
    while let Err(error) = add(connection).await {
        if begin.elapsed() > PATIENCE {
            return Err(error.into());
        }
        // The interval between two looks.
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

async fn calls(connection: &Connection, n: u32) -> io::Result<()> {
    let left: Left = Rc::new(Cell::new(n));
    let call = async || {
        while take(&left) {
            add(connection).await?;
        }
        Ok::<_, io::Error>(())
    };
    try_join_all((0..CALLS).map(|_| call())).await.map(drop)
}

async fn add(connection: &Connection) -> io::Result<()> {
    let answer = connection.call_method(Some(NAME), PATH, Some(NAME), "Add", &(20_i64, 22_i64)).await;
    let sum: i64 = answer.and_then(|answer| answer.body().deserialize()).map_err(io::Error::other)?;
    if sum == 42 { Ok(()) } else { Err(io::Error::other("20 and 22 aren't 42")) }
}
