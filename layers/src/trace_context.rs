//! The trace that a request belongs to: as a client or a proxy in front told it, or drawn here.
//!
//! Source: W3C Trace Context, <https://www.w3.org/TR/trace-context/#traceparent-header>. It is kept
//! in the record of the request: spans are made from closed records, none lives while the request
//! does. What is decided when a request comes are its ids and whether spans will be made at all
//! ([`Sampler`]); without a sampler nothing is drawn.

use std::fmt;
use std::num::NonZeroU64;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that names trace and span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A trace and the span in it that a request was sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace: u128,
    /// The span; never 0.
    pub span: u64,
    /// Whether whoever sent the request records the trace.
    pub sampled: bool,
}

impl TraceContext {
    /// What the headers of a request tell; none where they tell nothing that is valid.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(TRACEPARENT)?.to_str().ok()?;
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let known = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !(known && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2)) {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled })
    }
}

/// The trace of a request, with the request's place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace; never 0.
    pub id: u128,
    /// The span that the request was sent from; none where the trace begins here.
    pub parent: Option<NonZeroU64>,
    /// The span of the request itself; 0 where no spans are made.
    pub span: u64,
    /// Whether its spans are sent.
    pub sampled: bool,
}

impl Trace {
    /// That of a request with these headers. Without a sampler it is what they tell, and no spans
    /// are made.
    pub fn of(headers: &HeaderMap, sampler: Option<Sampler>) -> Option<Self> {
        let told = TraceContext::of(headers);
        match sampler {
            Some(sampler) => Some(sampler.decide(told)),
            None => told.map(|told| Self {
                id: told.trace,
                parent: NonZeroU64::new(told.span),
                span: 0,
                sampled: false,
            }),
        }
    }

    /// The trace in the digits that logs and traces have.
    pub fn id_digits(&self) -> impl fmt::Display + use<> {
        struct Digits(u128);

        impl fmt::Display for Digits {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        Digits(self.id)
    }

    /// What tells an upstream that it is asked from `span`; none where no spans are made.
    pub fn handed_on(&self, span: u64) -> Option<HeaderValue> {
        let flags = u8::from(self.sampled);
        let text = (span != 0).then(|| format!("00-{:032x}-{span:016x}-{flags:02x}", self.id))?;
        HeaderValue::from_str(&text).ok()
    }
}

/// A span's id, drawn at random; never 0.
pub fn draw_span() -> u64 {
    fastrand::u64(1..)
}

/// The rule by which it is decided whether the spans of a request are sent: `OTEL_TRACES_SAMPLER`.
///
/// Source: OpenTelemetry, <https://opentelemetry.io/docs/specs/otel/trace/sdk/#built-in-samplers>. A
/// share goes by the lower 63 bits of the trace, as the other SDKs do it, so that all services that a
/// request passes choose the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Of 2^63, how many traces are sent that begin here.
    share: u64,
    /// Whether the sender's decision counts where there is one.
    heeds_parent: bool,
}

impl Sampler {
    /// Sends this share (0 to 1) of the traces; with `heeds_parent` of those that begin here, and of
    /// others those that their sender records.
    pub fn new(share: f64, heeds_parent: bool) -> Self {
        const ALL: u64 = 1 << 63;
        // A float of at most 2^63, cut to a whole number.
        let share = (share.clamp(0.0, 1.0) * ALL as f64) as u64;
        Self { share, heeds_parent }
    }

    /// Whether no trace that begins here is sent.
    pub fn is_never(self) -> bool {
        self.share == 0
    }

    fn decide(self, told: Option<TraceContext>) -> Trace {
        let id = told.map_or_else(|| fastrand::u128(1..), |told| told.trace);
        let of_share = (id as u64) >> 1 < self.share;
        let sampled = told.filter(|_| self.heeds_parent).map_or(of_share, |told| told.sampled);
        let parent = told.and_then(|told| NonZeroU64::new(told.span));
        Trace { id, parent, span: draw_span(), sampled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<TraceContext> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, text.parse().unwrap());
        TraceContext::of(&headers)
    }

    #[test]
    fn trace_span_and_sampling_are_read() {
        let context = of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();

        assert_eq!((context.span, context.sampled), (0xb7ad_6b71_6920_3331, true));
        assert_eq!(context.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert!(!of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap().sampled);
    }

    #[test]
    fn a_later_version_may_have_more_behind_it() {
        assert!(of("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes").is_some());
        assert!(of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-no").is_none());
    }

    #[test]
    fn what_is_not_valid_tells_nothing() {
        for text in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(TraceContext::of(&HeaderMap::new()), None);
    }

    fn told(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(TRACEPARENT, text.parse().unwrap())])
    }

    const RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const UNRECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[test]
    fn without_a_sampler_nothing_is_drawn_and_what_was_told_is_kept() {
        let trace = Trace::of(&told(RECORDED), None).unwrap();

        assert_eq!(trace.id_digits().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((trace.span, trace.sampled, trace.handed_on(trace.span)), (0, false, None));
        assert_eq!(Trace::of(&HeaderMap::new(), None), None);
    }

    #[test]
    fn a_trace_that_begins_here_has_no_parent_and_one_that_was_told_goes_on() {
        let sampler = Some(Sampler::new(1.0, true));

        let (begun, other) =
            (Trace::of(&HeaderMap::new(), sampler).unwrap(), Trace::of(&HeaderMap::new(), sampler).unwrap());
        let gone_on = Trace::of(&told(RECORDED), sampler).unwrap();

        assert_eq!((begun.parent, begun.sampled), (None, true));
        assert!(begun.id != other.id && begun.span != other.span && begun.id >> 64 != 0);
        assert_eq!(gone_on.parent.map(NonZeroU64::get), Some(0xb7ad_6b71_6920_3331));
        assert_eq!(gone_on.id, TraceContext::of(&told(RECORDED)).unwrap().trace);
    }

    #[test]
    fn the_sender_s_decision_counts_only_where_it_is_heeded() {
        for (share, heeds, text, sampled) in [
            (0.0, true, RECORDED, true),
            (1.0, true, UNRECORDED, false),
            (0.0, false, RECORDED, false),
            (1.0, false, UNRECORDED, true),
        ] {
            let trace = Trace::of(&told(text), Some(Sampler::new(share, heeds))).unwrap();
            assert_eq!(trace.sampled, sampled, "{share} {heeds} {text}");
        }
    }

    #[test]
    fn a_share_goes_by_the_lower_bits_of_the_trace() {
        let of = |low: u64| told(&format!("00-ffffffffffffffff{low:016x}-b7ad6b7169203331-00"));
        let tenth = Some(Sampler::new(0.1, false));

        let sampled = |low| Trace::of(&of(low), tenth).unwrap().sampled;

        assert!(sampled(0x1999_9999_9999_0000) && !sampled(0x199a_0000_0000_0000) && !sampled(u64::MAX));
        let drawn = (0..4000).filter(|_| Trace::of(&HeaderMap::new(), tenth).unwrap().sampled).count();
        assert!((250..=550).contains(&drawn), "{drawn} of 4000");
    }

    #[test]
    fn an_upstream_is_told_the_span_that_asks_it_and_whether_it_is_recorded() {
        let trace = Trace::of(&told(RECORDED), Some(Sampler::new(1.0, true))).unwrap();

        let header = trace.handed_on(0xab).unwrap();

        assert_eq!(header, "00-0af7651916cd43dd8448eb211c80319c-00000000000000ab-01");
        let unsampled = Trace { sampled: false, ..trace };
        assert!(unsampled.handed_on(1).unwrap().to_str().unwrap().ends_with("-00"));
    }
}
