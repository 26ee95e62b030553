//! Amazon Bedrock: Claude in Anthropic's own format, all other models in Converse, signed or with a key of Bedrock's.
//!
//! Sources: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html>,
//! <https://docs.aws.amazon.com/general/latest/gr/bedrock.html>. Each region is a place of its own, unless a base URL
//! names one.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Betas, Dialect, Envelope, Framing, Kind, Lack, Place};
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};
use serde_json::Value;

use super::sigv4::{self, Scope};
use super::{bearer, put, secret_of, segment, usable, with_path};
use crate::engine::{BaseUrl, Engine, Listing, Need, Pages, ProviderSpec, Slot};

/// Amazon Bedrock before the model's name decides: all models but Claude have it.
pub(super) static BEDROCK: Engine = Engine {
    names: &["aws", "bedrock"],
    detect: is_bedrock,
    hints: &["aws_access_key", "aws_secret_key"],
    refine: |model, _| model.contains("anthropic.").then_some(&BEDROCK_CLAUDE),
    ..CONVERSE
};

/// Claude in Anthropic's format, whatever the model is called: a profile of one's own says nothing of its model.
pub(super) static BEDROCK_CLAUDE: Engine = Engine {
    names: &["bedrock-claude"],
    dialect: Dialect::Anthropic,
    envelope: Envelope {
        model: Place::Path,
        stream: Place::Path,
        adds: &[("anthropic_version", "bedrock-2023-05-31")],
        betas: Betas::Body,
        fetches_media: true,
        framing: Some(Framing::EventStream),
        flags: Some(BETAS),
        lacks: &[Lack::SingleCalls, Lack::Tiers, Lack::ServerTools, Lack::Store, Lack::OldSchemas],
        ..Envelope::PLAIN
    },
    build: |spec| Ok(Arc::new(Bedrock::new(spec, ["invoke", "invoke-with-response-stream"])?)),
    ..CONVERSE
};

/// Converse for all models, Claude too.
pub(super) static BEDROCK_CONVERSE: Engine = Engine { names: &["bedrock-converse"], ..CONVERSE };

/// What the engines of Bedrock have in common.
const CONVERSE: Engine = Engine {
    is_regional: true,
    needs: &[Need::AccountOrKey {
        settings: &["aws_access_key", "aws_secret_key"],
        told: "aws_access_key and aws_secret_key, or api",
    }],
    credentials: |spec| match spec.pair {
        Some(pair) => vec![Slot::Pair(pair.clone())],
        None => Slot::keys(spec),
    },
    listing: Some(Listing {
        path: |_| "/foundation-models".to_owned(),
        list: "/modelSummaries",
        name: "/modelId",
        pages: None,
    }),
    more_listings: &[Listing {
        path: |_| "/inference-profiles?maxResults=1000".to_owned(),
        list: "/inferenceProfileSummaries",
        name: "/inferenceProfileId",
        pages: Some(Pages { token: "/nextToken", parameter: "nextToken" }),
    }],
    lists_at: Some(lists_at),
    listed,
    dialect: Dialect::Converse,
    envelope: Envelope {
        model: Place::Path,
        stream: Place::Path,
        betas: Betas::Body,
        fetches_media: true,
        flags: Some(BETAS),
        ..Envelope::PLAIN
    },
    build: |spec| Ok(Arc::new(Bedrock::new(spec, ["converse", "converse-stream"])?)),
    ..Engine::PLAIN
};

/// Features of Claude in test that Bedrock knows; others are refused
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html>).
const BETAS: &[&str] = &[
    "compact-",
    "computer-use-",
    "context-1m-",
    "context-management-",
    "dev-full-thinking-",
    "effort-",
    "fine-grained-tool-streaming-",
    "interleaved-thinking-",
    "output-128k-",
    "token-efficient-tools-",
    "tool-examples-",
    "tool-search-tool-",
];

/// The region where nothing names one.
const REGION: &str = "us-east-1";

/// Whether an address is Bedrock's own, or a gateway's way to it. It speaks OpenAI's format, too, on paths of that.
fn is_bedrock(url: &BaseUrl<'_>) -> bool {
    let is_openai = url.path.contains("/openai/v1");
    !is_openai && (url.host.contains("amazonaws.com") || url.path.contains(GATEWAY))
}

/// The path of Cloudflare's gateway to Bedrock, with the region behind it.
const GATEWAY: &str = "/aws-bedrock/bedrock-runtime/";

/// A channel at Bedrock.
struct Bedrock {
    /// The written base URL, which wins over regions.
    base: Option<Uri>,
    /// The region that signatures are for where the address tells none.
    region: String,
    /// The operations for a whole answer and for a stream.
    operations: [&'static str; 2],
}

impl Bedrock {
    /// Derives what can be.
    ///
    /// # Errors
    /// The base URL is none, or a region cannot be one.
    fn new(spec: &ProviderSpec<'_>, operations: [&'static str; 2]) -> Result<Self, Unsupported> {
        let base = spec.base_url.map(|base_url| usable(Some(base_url))).transpose()?;
        let region = spec.regions.iter().map(String::as_str).find(|region| *region != "global");
        let region = region.unwrap_or(REGION);
        Ok(Self { base, region: valid(region)?.to_owned(), operations })
    }
}

/// A region that can be a part of a host.
fn valid(region: &str) -> Result<&str, Unsupported> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match (1..=32).contains(&region.len()) && region.bytes().all(fits) {
        true => Ok(region),
        false => Err(Unsupported("its region is none".into())),
    }
}

/// The base URL of a service in a region.
fn regional(service: &str, region: &str) -> Result<Uri, Unsupported> {
    // China and the European sovereign cloud are partitions of their own.
    let domain = match region.split('-').next() {
        Some("cn") => "amazonaws.com.cn",
        Some("eusc") => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    let url = format!("https://{service}.{}.{domain}", valid(region)?);
    url.parse().map_err(|_invalid| Unsupported("its region is none".into()))
}

/// The region that an address tells: behind the service's name in the host, or in a gateway's path.
fn region_of(uri: &Uri) -> Option<&str> {
    if let Some((_, rest)) = uri.path().split_once(GATEWAY) {
        return rest.split('/').next().filter(|region| valid(region).is_ok());
    }
    let mut labels = uri.host()?.split('.').skip_while(|label| !label.starts_with("bedrock"));
    labels.next()?;
    labels.next().filter(|label| valid(label).is_ok() && label.contains('-'))
}

/// The path of a base URL in front of the operations.
fn root(base: &Uri) -> &str {
    let path = base.path();
    path.find("/model/").map_or(path, |end| &path[..end]).trim_end_matches('/')
}

/// Where the lists lie: at the control plane of the region, or where the base URL says, which may be anybody's.
fn lists_at(spec: &ProviderSpec<'_>) -> Option<Uri> {
    let bedrock = Bedrock::new(spec, [""; 2]).ok()?;
    match &bedrock.base {
        Some(base) => region_of(base).map_or(Some(base.clone()), |region| regional("bedrock", region).ok()),
        None => regional("bedrock", &bedrock.region).ok(),
    }
}

/// The models of its lists that can be talked to by the name that they have there: some are asked by a profile only,
/// and a profile of one's own by its ARN only.
fn listed<'a>(name: &'a str, entry: &Value) -> Option<&'a str> {
    let holds = |list: &str, word: &str| {
        entry.get(list).and_then(Value::as_array).is_none_or(|list| list.iter().any(|found| found == word))
    };
    let is = |field: &str, word: &str| entry.get(field).is_some_and(|found| found == word);
    let is_asked = holds("inferenceTypesSupported", "ON_DEMAND") && holds("outputModalities", "TEXT");
    (is_asked && !is("type", "APPLICATION")).then_some(name)
}

impl Provider for Bedrock {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        let is_converse = self.operations[0] == "converse";
        let is_count = wanted.endpoint.kind == Kind::CountTokens && is_converse;
        if wanted.endpoint.kind != Kind::Chat && !is_count {
            return Err(Unsupported(
                format!("it has no {} of this format", wanted.endpoint.kind.label()).into(),
            ));
        }
        let region = wanted.place.filter(|place| *place != "global").unwrap_or(&self.region);
        let derived;
        let base = match &self.base {
            Some(base) => base,
            None => {
                derived = regional("bedrock-runtime", region)?;
                &derived
            }
        };
        let operation = if is_count { "count-tokens" } else { self.operations[usize::from(wanted.stream)] };
        with_path(base, &format!("{}/model/{}/{operation}", root(base), segment(wanted.model)?))
    }

    fn sign(
        &self,
        request: &mut Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        let is_stream = request.uri().path().ends_with("-stream");
        // What is asked of everybody for a stream is another format here.
        let accepted = if is_stream { Framing::EventStream.content_type() } else { "application/json" };
        if request.headers().get(ACCEPT).is_none_or(|accepted| accepted == Framing::Sse.content_type()) {
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accepted));
        }
        let pair = match with {
            // Whoever configured a proof of his own has another way to prove it.
            _ if request.headers().contains_key(AUTHORIZATION) => return Ok(()),
            Some(Presented::Pair(pair)) => pair,
            other => {
                if let Some(secret) = secret_of(other)? {
                    put(request, AUTHORIZATION, bearer(secret)?);
                }
                return Ok(());
            }
        };
        let uri = request.uri().clone();
        let region = region_of(&uri).unwrap_or(&self.region);
        let url = match uri.to_string().split_once(&format!("{GATEWAY}{region}")) {
            Some((_, rest)) => {
                format!("{}{rest}", regional("bedrock-runtime", region)?.to_string().trim_end_matches('/'))
            }
            None => uri.to_string(),
        };
        sigv4::sign(request, pair, &Scope { url: url.into(), region, service: "bedrock" })
    }
}

#[cfg(test)]
mod tests {
    use http::header::HOST;
    use layers::endpoint::{CHAT_COMPLETIONS, MODERATIONS};
    use layers::policy::Fingerprint;
    use layers::ports::{Pair, Secret};
    use serde_json::json;

    use super::*;
    use crate::providers::testing::spec;

    fn address(engine: &'static Engine, base_url: Option<&str>, place: Option<&str>, model: &str) -> String {
        let spec = ProviderSpec { base_url, ..spec(engine, "") };
        let provider = (engine.build)(&spec).unwrap();
        let wanted = Wanted { endpoint: &CHAT_COMPLETIONS, model, place, stream: true };
        provider.address(wanted).map_or_else(|refused| refused.to_string(), |uri| uri.to_string())
    }

    #[test]
    fn a_model_is_one_segment_of_the_path_and_its_region_is_in_the_host() {
        let claude = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
        let profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
        for (engine, base_url, place, model, expected) in [
            (
                &BEDROCK,
                None,
                None,
                "amazon.nova-lite-v1:0",
                "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse-stream",
            ),
            (
                &BEDROCK_CLAUDE,
                None,
                Some("eu-west-1"),
                claude,
                "https://bedrock-runtime.eu-west-1.amazonaws.com/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream",
            ),
            (
                &BEDROCK,
                None,
                Some("cn-north-1"),
                profile,
                "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc/converse-stream",
            ),
            (
                &BEDROCK,
                Some("https://vpce-1.example/x/"),
                Some("eu-west-1"),
                "m",
                "https://vpce-1.example/x/model/m/converse-stream",
            ),
            (
                &BEDROCK,
                Some("https://gateway.ai.cloudflare.com/v1/a/g/aws-bedrock/bedrock-runtime/us-east-1/"),
                None,
                "m",
                "https://gateway.ai.cloudflare.com/v1/a/g/aws-bedrock/bedrock-runtime/us-east-1/model/m/converse-stream",
            ),
            (
                &BEDROCK,
                Some("https://bedrock-runtime.us-west-2.amazonaws.com/model/other/invoke"),
                None,
                "m",
                "https://bedrock-runtime.us-west-2.amazonaws.com/model/m/converse-stream",
            ),
            (&BEDROCK, None, Some("evil.test/"), "m", "its region is none"),
            (&BEDROCK, None, None, "../x", "the name of its model cannot stand in a path"),
        ] {
            assert_eq!(address(engine, base_url, place, model), expected);
        }
    }

    #[test]
    fn claude_has_its_own_format_and_everybody_else_converse_unless_the_engine_says_so() {
        let engine = |engine: &'static Engine, model| engine.refined(model, true).name();

        assert_eq!(engine(&BEDROCK, "anthropic.claude-3-haiku-20240307-v1:0"), "bedrock-claude");
        assert_eq!(engine(&BEDROCK, "global.anthropic.claude-opus-4-6-v1"), "bedrock-claude");
        assert_eq!(engine(&BEDROCK, "us.amazon.nova-pro-v1:0"), "aws");
        assert_eq!(engine(&BEDROCK_CONVERSE, "anthropic.claude-3-haiku-20240307-v1:0"), "bedrock-converse");
        assert_eq!(
            engine(&BEDROCK_CLAUDE, "arn:aws:bedrock:r:1:application-inference-profile/a"),
            "bedrock-claude"
        );
    }

    #[test]
    fn an_address_tells_the_region_that_its_signature_is_for() {
        for (url, region) in [
            ("https://bedrock-runtime.us-east-1.amazonaws.com/x", Some("us-east-1")),
            ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("https://bedrock.eu-central-1.amazonaws.com/foundation-models", Some("eu-central-1")),
            ("https://vpce-0a-b.bedrock-runtime.ap-south-1.vpce.amazonaws.com", Some("ap-south-1")),
            (
                "https://gateway.ai.cloudflare.com/v1/a/g/aws-bedrock/bedrock-runtime/sa-east-1/model/m",
                Some("sa-east-1"),
            ),
            ("https://bedrock.amazonaws.com", None),
            ("https://private.example", None),
        ] {
            assert_eq!(region_of(&url.parse().unwrap()), region, "{url}");
        }
    }

    #[test]
    fn a_pair_signs_for_the_region_of_the_address_and_a_key_is_a_bearer() {
        let secret = |text: &str| Secret::new(text, Fingerprint::new("print"));
        let pair = Pair { id: secret("AKID"), secret: secret("s"), session: Some(secret("token")) };
        let key = secret("bedrock-api-key-x");
        let regions = ["eu-west-3".to_owned()];
        let signed = |base_url, with: &Presented<'_>, configured: Option<&str>| {
            let spec = ProviderSpec { base_url, regions: &regions, ..spec(&BEDROCK, "") };
            let provider = (BEDROCK.build)(&spec).unwrap();
            let place = Some("eu-west-3");
            let wanted = Wanted { endpoint: &CHAT_COMPLETIONS, model: "m:0", place, stream: true };
            let mut request = Request::new(vec![Bytes::from_static(b"{}")]);
            *request.uri_mut() = provider.address(wanted).unwrap();
            let host = request.uri().authority().unwrap().to_string().parse().unwrap();
            request.headers_mut().insert(HOST, host);
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            configured.iter().for_each(|proof| {
                request.headers_mut().insert(AUTHORIZATION, proof.parse().unwrap());
            });
            provider.sign(&mut request, Some(with)).unwrap();
            let text = |name: &str| {
                request
                    .headers()
                    .get(name)
                    .map(|value| value.to_str().unwrap().to_owned())
                    .unwrap_or_default()
            };
            assert_eq!(text("accept"), "application/vnd.amazon.eventstream");
            (text("authorization"), text("x-amz-security-token"))
        };
        let by_pair = Presented::Pair(&pair);

        let (derived, token) = signed(None, &by_pair, None);
        let (of_host, _) = signed(Some("https://bedrock-runtime.us-west-2.amazonaws.com"), &by_pair, None);
        let (private, _) = signed(Some("https://private.example"), &by_pair, None);

        assert!(derived.contains("/eu-west-3/bedrock/aws4_request") && token == "token", "{derived}");
        assert!(of_host.contains("/us-west-2/bedrock/"), "{of_host}");
        assert!(private.contains("/eu-west-3/bedrock/"), "{private}");
        assert_eq!(signed(None, &Presented::Key(&key), None).0, "Bearer bedrock-api-key-x");
        assert_eq!(signed(None, &by_pair, Some("own")).0, "own");
    }

    #[test]
    fn it_takes_conversations_only() {
        let provider = (BEDROCK.build)(&ProviderSpec { base_url: None, ..spec(&BEDROCK, "") }).unwrap();
        let wanted = Wanted { endpoint: &MODERATIONS, model: "m", place: None, stream: false };

        assert!(provider.address(wanted).is_err());
    }

    #[test]
    fn lists_lie_at_the_control_plane_and_name_what_can_be_talked_to() {
        let at = |base_url, regions: &[String]| {
            lists_at(&ProviderSpec { base_url, regions, ..spec(&BEDROCK, "") }).unwrap().to_string()
        };
        let text = json!({ "inferenceTypesSupported": ["ON_DEMAND"], "outputModalities": ["TEXT", "IMAGE"] });
        let profiled =
            json!({ "inferenceTypesSupported": ["INFERENCE_PROFILE"], "outputModalities": ["TEXT"] });
        let embeds = json!({ "inferenceTypesSupported": ["ON_DEMAND"], "outputModalities": ["EMBEDDING"] });

        assert_eq!(at(None, &["eu-west-1".to_owned()]), "https://bedrock.eu-west-1.amazonaws.com/");
        assert_eq!(
            at(Some("https://bedrock-runtime.us-west-2.amazonaws.com"), &[]),
            "https://bedrock.us-west-2.amazonaws.com/"
        );
        assert_eq!(at(Some("https://private.example"), &[]), "https://private.example/");
        assert_eq!(listed("m", &text), Some("m"));
        assert_eq!((listed("m", &profiled), listed("m", &embeds)), (None, None));
        assert_eq!(listed("us.m", &json!({ "type": "SYSTEM_DEFINED" })), Some("us.m"));
        assert_eq!(listed("us.m", &json!({ "type": "APPLICATION" })), None);
    }
}
