//! Chooses which of the two text formats of `/metrics` a client gets.

use http::{HeaderMap, header};

/// The text formats of all counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// The default, which every scraper reads.
    Prometheus,
    /// For clients that ask for it by name.
    OpenMetrics,
}

/// The versions of OpenMetrics that this text conforms to: nothing that it uses has changed between these two.
const VERSIONS: [&str; 2] = ["0.0.1", "1.0.0"];

impl Text {
    /// Returns the one that `Accept` prefers; if it prefers neither, the one named first.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        // The quality of each, and how specifically it is named: `*/*` expresses no wish for either.
        let (mut prometheus, mut openmetrics) = (None, None);
        let fields = headers.get_all(header::ACCEPT).iter().filter_map(|field| field.to_str().ok());
        for (index, range) in fields.flat_map(|field| field.split(',')).enumerate() {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (Some(1000), None);
            for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = thousandths(value.trim()),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            let Some(quality) = quality else { continue };
            let of = match &*kind {
                "application/openmetrics-text" if version.is_none_or(|version| VERSIONS.contains(&version)) => {
                    openmetrics = openmetrics.max(Some(Wish { quality, order: usize::MAX - index }));
                    continue;
                }
                "text/plain" => 2,
                "text/*" => 1,
                "*/*" => 0,
                _ => continue,
            };
            // The most specific one counts.
            let wish = Wish { quality, order: usize::MAX - index };
            match &prometheus {
                Some((exact, known)) if (*exact, known) >= (of, &wish) => {}
                _ => prometheus = Some((of, wish)),
            }
        }
        match (openmetrics, prometheus) {
            (Some(openmetrics), _) if openmetrics.quality == 0 => Self::Prometheus,
            (Some(_), None) => Self::OpenMetrics,
            (Some(openmetrics), Some((exact, prometheus))) => {
                let less = if exact == 2 { openmetrics < prometheus } else { openmetrics.quality < prometheus.quality };
                if less { Self::Prometheus } else { Self::OpenMetrics }
            }
            (None, _) => Self::Prometheus,
        }
    }

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// How much a format is wanted; of two equal wishes, the one named first counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    quality: u16,
    order: usize,
}

/// Parses `0.5` as 500; None if the text is no quality.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{fraction:0<3}").parse().ok().filter(|quality| *quality <= 1000)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn wanted(fields: &[&'static str]) -> Text {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::ACCEPT, HeaderValue::from_static(field));
        }
        Text::wanted(&headers)
    }

    #[test]
    fn those_who_do_not_ask_for_openmetrics_get_prometheus_text() {
        for fields in [
            &[][..],
            &[""],
            // curl and a browser.
            &["*/*"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"],
            &["text/plain"],
            &["TEXT/PLAIN ; Version=0.0.4"],
            // VictoriaMetrics' agent and Telegraf.
            &["text/plain;version=0.0.4;q=1,*/*;q=0.1"],
            &[
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            ],
            &["application/json"],
            &["application/*"],
            &["application/openmetrics-text;version=9.0.0"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=0,*/*"],
            &["application/openmetrics-text;q=0.0, text/plain;q=0.001"],
            &["text/plain, application/openmetrics-text;q=0.999"],
            &["text/plain, application/openmetrics-text"],
            &["text/plain", "application/openmetrics-text;q=0.5"],
            &["application/openmetrics-text;q=nan"],
            &["application/openmetrics-text;q=1.5"],
            &["application/openmetrics-text;q=0.5, text/*;q=0.6"],
            &["xapplication/openmetrics-text"],
        ] {
            assert_eq!(wanted(fields), Text::Prometheus, "{fields:?}");
        }
    }

    #[test]
    fn those_who_ask_for_openmetrics_get_it() {
        for fields in [
            // Prometheus 2.30, 2.42 and 3.
            &["application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"][..],
            &[
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ],
            &[
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            ],
            &["application/openmetrics-text"],
            &["Application/OpenMetrics-Text; VERSION=\"1.0.0\"; charset=utf-8"],
            &["application/openmetrics-text;q=0.2"],
            &["application/openmetrics-text, */*"],
            &["*/*, application/openmetrics-text"],
            &["application/openmetrics-text, text/plain"],
            &["text/plain;q=0.1, application/openmetrics-text;q=0.2"],
            &["text/plain;q=0.1, text/*, application/openmetrics-text;q=0.2"],
            &["text/plain;q=0.5", "application/openmetrics-text"],
            &["text/plain;q=x, application/openmetrics-text;q=0.1"],
        ] {
            assert_eq!(wanted(fields), Text::OpenMetrics, "{fields:?}");
        }
    }

    #[test]
    fn a_quality_has_three_digits() {
        assert_eq!(["0", "1", "0.", "1.000", "0.5", "0.123"].map(thousandths), [0, 1000, 0, 1000, 500, 123].map(Some));
        for wrong in ["", "2", "1.001", "0.1234", "-0", "+1", ".5", "1e0", "0.5 x"] {
            assert_eq!(thousandths(wrong), None, "{wrong}");
        }
    }
}
