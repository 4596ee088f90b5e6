//! The interfaces that clients of Python's sparts call: a service's own, and fb303 as sparts has it on the bus.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use futures_channel::oneshot;
use futures_util::lock::Mutex;
use interloop::{
    ServiceHandle,
    options::{OptionKind, OptionValue},
};
use interloop_fb303::{Base, Refused};
use zbus::{Connection, OwnedVariant, Str, Variant, connection::Builder, fdo, interface, message::Header};

use crate::{
    interface::{CallCounts, Guarded},
    permit::Permit,
};

/// The text for a missing value, as in sparts.
const NONE: &str = "__None__";

/// The objects, the same on all connections of an incarnation.
pub(crate) struct Sparts {
    base: Base,
    /// The name in their paths.
    name: String,
}

impl Sparts {
    /// Creates them with this name, or the service's.
    pub(crate) fn new(service: ServiceHandle, name: Option<&str>) -> Self {
        let name = element(name.unwrap_or_else(|| service.name()));
        Self { base: Base::new(service), name }
    }

    pub(crate) fn serve(
        &self,
        builder: Builder<'static>,
        counts: &CallCounts,
        permit: &Arc<Permit>,
    ) -> Builder<'static> {
        let (sparts, fb303) = (format!("/{}/sparts", self.name), format!("/{}/fb303", self.name));
        let (base, permit) = (|| self.base.clone(), || permit.clone());
        let reloads = Mutex::default();
        builder
            .serve_at(sparts, Guarded::new(SpartsService { base: base(), permit: permit() }, counts))
            .serve_at(fb303.clone(), Guarded::new(Fb303 { base: base(), permit: permit(), reloads }, counts))
            .serve_at(fb303, Guarded::new(SpartsFb303 { base: base(), permit: permit() }, counts))
    }
}

/// Returns a valid element of an object's path.
fn element(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

fn refused(refused: Refused) -> fdo::Error {
    fdo::Error::InvalidArgs(refused.to_string())
}

/// Returns the name of an option in sparts.
fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns a value in the type that sparts gives it, so that no client treats the text `false` as true.
fn typed(option: &OptionValue) -> OwnedVariant {
    let Some(text) = option.value() else { return Str::from(NONE).into() };
    typed_text(option.kind(), text).unwrap_or_else(|| Str::from(text).into())
}

/// Returns None for text; a secret's placeholder is text, whatever its type.
fn typed_text(kind: OptionKind, text: &str) -> Option<OwnedVariant> {
    match kind {
        OptionKind::Truth => text.parse::<bool>().ok().map(OwnedVariant::from),
        OptionKind::Float => text.parse::<f64>().ok().map(OwnedVariant::from),
        OptionKind::Integer => {
            // The first type that it fits in, as Python's bindings choose.
            let short = || text.parse::<i32>().map(OwnedVariant::from);
            let long = || text.parse::<i64>().map(OwnedVariant::from);
            let unsigned = || text.parse::<u64>().map(OwnedVariant::from);
            short().or_else(|_| long()).or_else(|_| unsigned()).ok()
        }
        _ => None,
    }
}

/// Returns a value as text.
fn untyped(value: &Variant<'_>) -> fdo::Result<String> {
    Ok(match value {
        Variant::Bool(value) => value.to_string(),
        Variant::U8(value) => value.to_string(),
        Variant::I16(value) => value.to_string(),
        Variant::U16(value) => value.to_string(),
        Variant::I32(value) => value.to_string(),
        Variant::U32(value) => value.to_string(),
        Variant::I64(value) => value.to_string(),
        Variant::U64(value) => value.to_string(),
        Variant::F64(value) => value.to_string(),
        Variant::Str(value) => value.to_string(),
        Variant::ObjectPath(value) => value.to_string(),
        Variant::Signature(value) => value.to_string(),
        Variant::Variant(value) => return untyped(value),
        other => {
            let signature = other.value_signature();
            return Err(fdo::Error::InvalidArgs(format!("an option is a text, a number or a truth, not {signature}")));
        }
    })
}

/// Runs blocking work on a thread of its own, while the loop goes on.
async fn apart<R: Send + 'static>(name: &str, work: impl FnOnce() -> R + Send + 'static) -> fdo::Result<R> {
    let (tell, told) = oneshot::channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || drop(tell.send(work())));
    thread.map_err(|error| fdo::Error::Failed(format!("no thread for {name}: {error}")))?;
    told.await.map_err(|_| fdo::Error::Failed(format!("{name} panicked")))
}

struct SpartsService {
    base: Base,
    permit: Arc<Permit>,
}

impl SpartsService {
    fn service(&self) -> &ServiceHandle {
        self.base.service()
    }
}

#[interface(name = "org.sparts.Service")]
impl SpartsService {
    #[zbus(name = "getOption")]
    fn get_option(&self, name: &str) -> fdo::Result<OwnedVariant> {
        let options = self.service().options();
        let option = options.get(name).or_else(|| options.get(&name.replace('_', "-")));
        option.as_ref().map(typed).ok_or_else(|| fdo::Error::InvalidArgs(format!("no option {name}")))
    }

    #[zbus(name = "setOption")]
    async fn set_option(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        value: OwnedVariant,
    ) -> fdo::Result<()> {
        self.permit.check(connection, &header).await?;
        self.base.set_option(name, &untyped(&value)?).map_err(refused)
    }

    #[zbus(name = "getOptions")]
    fn get_options(&self) -> BTreeMap<String, OwnedVariant> {
        let options = self.service().options().list();
        options.iter().map(|option| (underscored(option.name()), typed(option))).collect()
    }

    #[zbus(name = "listOptions")]
    fn list_options(&self) -> Vec<String> {
        self.service().options().list().iter().map(|option| underscored(option.name())).collect()
    }

    #[zbus(name = "listTasks")]
    fn list_tasks(&self) -> Vec<String> {
        self.service().status().tasks.into_iter().map(|task| task.name).collect()
    }

    /// The uptime in whole seconds.
    #[zbus(name = "uptime")]
    fn uptime(&self) -> i64 {
        self.service().status().uptime as i64
    }

    #[zbus(name = "shutdown")]
    async fn shutdown(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        self.permit.check(connection, &header).await?;
        self.service().request_shutdown("asked over D-Bus");
        Ok(())
    }

    /// Restarts the service: all tasks stop in order, and are started again.
    #[zbus(name = "restart")]
    async fn restart(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        self.permit.check(connection, &header).await?;
        self.service().restart();
        Ok(())
    }
}

/// Gives the same answers as over Thrift, except that options have their names of sparts.
struct Fb303 {
    base: Base,
    permit: Arc<Permit>,
    /// Held by a reload, so that further reloads wait without a thread.
    reloads: Mutex<()>,
}

#[interface(name = "com.facebook.fb303.Service")]
impl Fb303 {
    #[zbus(name = "getName")]
    fn get_name(&self) -> String {
        self.base.name().to_owned()
    }

    #[zbus(name = "getVersion")]
    fn get_version(&self) -> String {
        self.base.version()
    }

    /// Returns the state: `ALIVE`.
    #[zbus(name = "getStatus")]
    fn get_status(&self) -> &'static str {
        self.base.status().as_str()
    }

    #[zbus(name = "getStatusDetails")]
    fn get_status_details(&self) -> String {
        self.base.status_details()
    }

    #[zbus(name = "getCounters")]
    fn get_counters(&self) -> BTreeMap<String, i64> {
        self.base.counters()
    }

    #[zbus(name = "getCounter")]
    fn get_counter(&self, key: &str) -> fdo::Result<i64> {
        self.base.counter(key).map_err(refused)
    }

    #[zbus(name = "setOption")]
    async fn set_option(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        key: &str,
        value: &str,
    ) -> fdo::Result<()> {
        self.permit.check(connection, &header).await?;
        self.base.set_option(key, value).map_err(refused)
    }

    #[zbus(name = "getOption")]
    fn get_option(&self, key: &str) -> fdo::Result<String> {
        self.base.option(key).map_err(refused)
    }

    #[zbus(name = "getOptions")]
    fn get_options(&self) -> BTreeMap<String, String> {
        self.base.options().into_iter().map(|(name, value)| (underscored(&name), value)).collect()
    }

    /// Returns folded stacks.
    #[zbus(name = "getCpuProfile")]
    async fn get_cpu_profile(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        seconds: i32,
    ) -> fdo::Result<String> {
        self.permit.check(connection, &header).await?;
        let (base, time) = (self.base.clone(), Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        let profile = apart("profile", move || base.cpu_profile(time)).await?;
        profile.map(|profile| profile.folded()).map_err(|why| match Base::has_profiler() {
            true => fdo::Error::Failed(why.to_string()),
            false => fdo::Error::NotSupported(why.to_string()),
        })
    }

    /// Returns seconds since 1970.
    #[zbus(name = "aliveSince")]
    fn alive_since(&self) -> i64 {
        self.base.alive_since()
    }

    #[zbus(name = "reinitialize")]
    async fn reinitialize(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        self.permit.check(connection, &header).await?;
        let _one_at_a_time = self.reloads.lock().await;
        let base = self.base.clone();
        let reloaded = apart("reinitialize", move || base.reinitialize()).await?;
        reloaded.map(drop).map_err(|why| fdo::Error::Failed(why.to_string()))
    }

    #[zbus(name = "shutdown")]
    async fn shutdown(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        self.permit.check(connection, &header).await?;
        self.base.shutdown();
        Ok(())
    }
}

struct SpartsFb303 {
    base: Base,
    permit: Arc<Permit>,
}

#[interface(name = "org.sparts.FB303Service")]
impl SpartsFb303 {
    #[zbus(name = "setOptionV")]
    async fn set_option_v(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        key: &str,
        value: OwnedVariant,
    ) -> fdo::Result<()> {
        self.permit.check(connection, &header).await?;
        self.base.set_option(key, &untyped(&value)?).map_err(refused)
    }

    /// Returns the time in UTC.
    #[zbus(name = "aliveSinceStr")]
    fn alive_since_str(&self) -> String {
        date(self.base.alive_since())
    }
}

/// Formats seconds since 1970: `2014-02-03 04:05:06`.
fn date(seconds: i64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(LAST_SECOND));
    let date = humantime::format_rfc3339_seconds(time).to_string();
    date.replace('T', " ").replace('Z', "")
}

/// The end of the year 9999, humantime's last.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_part_of_a_path() {
        assert_eq!(element("MyService2"), "MyService2");
        assert_eq!(element("my-service.a/b é"), "my_service_a_b__");
        assert_eq!(element(""), "_");
    }

    #[test]
    fn a_value_goes_out_in_its_type_if_it_is_one_of_it() {
        let typed = |kind, text| typed_text(kind, text).map(Variant::from);
        assert_eq!(typed(OptionKind::Truth, "false"), Some(Variant::Bool(false)));
        assert_eq!(typed(OptionKind::Truth, "***"), None);
        assert_eq!(typed(OptionKind::Integer, "-1"), Some(Variant::I32(-1)));
        assert_eq!(typed(OptionKind::Integer, "2147483648"), Some(Variant::I64(1 << 31)));
        assert_eq!(typed(OptionKind::Integer, "18446744073709551615"), Some(Variant::U64(u64::MAX)));
        assert_eq!(typed(OptionKind::Integer, "18446744073709551616"), None);
        assert_eq!(typed(OptionKind::Float, "0.5"), Some(Variant::F64(0.5)));
        assert_eq!(typed(OptionKind::Text, "true"), None);
    }

    #[test]
    fn a_value_comes_in_in_any_basic_type() {
        let nested = Variant::Variant(Box::new(Variant::from("inner")));
        let values = [Variant::from(true), Variant::from(7_u8), Variant::from(-7_i64), Variant::from(1.0), nested];
        let texts: Vec<String> = values.iter().map(|value| untyped(value).expect("it is basic")).collect();
        assert_eq!(texts, ["true", "7", "-7", "1", "inner"]);
        let list = untyped(&Variant::from(vec!["a"])).expect_err("it is a list");
        assert_eq!(list, fdo::Error::InvalidArgs("an option is a text, a number or a truth, not as".to_owned()));
    }

    #[test]
    fn a_date_is_written_as_sparts_writes_it() {
        assert_eq!(date(1_391_400_306), "2014-02-03 04:05:06");
        assert_eq!((date(-1).as_str(), date(i64::MAX).as_str()), ("1970-01-01 00:00:00", "9999-12-31 23:59:59"));
    }
}
