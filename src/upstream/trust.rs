//! Decides which servers are who they say they are.
//!
//! Trust comes from the system's store, or from what `SSL_CERT_FILE` and `SSL_CERT_DIR` name, so that
//! private authorities work; and from the bundled Mozilla roots when that is empty, as in a minimal
//! container. It is loaded with the first TLS connection, not at start, where only the named
//! places are looked at, so that a slip in them is told.
//!
//! Who runs a server at home makes its certificate with `openssl req -x509`, which makes one of an
//! authority, and puts that very certificate into the store. A verifier of authorities refuses it,
//! since an authority is no server. It is listed, so it is trusted, by curl and Python and here.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

/// How connections of this program are secured.
pub(super) fn config() -> ClientConfig {
    static CONFIG: OnceLock<ClientConfig> = OnceLock::new();
    CONFIG.get_or_init(|| trusting(rustls_native_certs::load_native_certs().certs)).clone()
}

fn trusting(certificates: Vec<CertificateDer<'static>>) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has the protocol versions that rustls considers safe");
    let verifier = Listed::new(certificates, provider);
    builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
}

/// A verifier that trusts authorities, and servers whose very certificate is listed among them.
#[derive(Debug)]
struct Listed {
    authorities: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl Listed {
    fn new(listed: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Self {
        let mut roots = RootCertStore::empty();
        let (added, _ignored) = roots.add_parsable_certificates(listed.iter().cloned());
        if added == 0 {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .expect("there are roots, and nothing that could be revoked");
        Self { authorities, listed }
    }
}

impl ServerCertVerifier for Listed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(error) if lacks_only_an_issuer(&error) && self.listed.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether a certificate was refused for who signed it, or for being an authority's, and for nothing
/// else: its time is looked at before either.
fn lacks_only_an_issuer(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(OtherError(error))) => {
            matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

/// What is wrong with the certificates that the environment names (`SSL_CERT_FILE`, `SSL_CERT_DIR`):
/// sentences with path and reason.
pub fn certificate_problems(file: Option<&str>, folders: Option<&str>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut roots = RootCertStore::empty();
    let mut look = |name: &str, path: &str, found: rustls_native_certs::CertificateResult| {
        let (count, errors) = (found.certs.len(), found.errors);
        let (_added, ignored) = roots.add_parsable_certificates(found.certs);
        problems.extend(errors.iter().map(|error| format!("{name}={path}: {error}")));
        if count == 0 && errors.is_empty() {
            problems.push(format!("{name}={path}: no certificate in PEM form is there"));
        }
        if ignored > 0 {
            problems.push(format!("{name}={path}: {ignored} of {count} certificates cannot be used"));
        }
    };
    if let Some(file) = file {
        look("SSL_CERT_FILE", file, rustls_native_certs::load_certs_from_paths(Some(Path::new(file)), None));
    }
    for folder in folders.iter().flat_map(|folders| std::env::split_paths(folders)) {
        let shown = folder.display().to_string();
        look("SSL_CERT_DIR", &shown, rustls_native_certs::load_certs_from_paths(None, Some(&folder)));
    }
    if roots.is_empty() && !problems.is_empty() {
        problems.push("the authorities that come with the program are trusted instead".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// As `openssl req -x509` makes them: signed by itself, an authority.
    fn made(name: &str, is_ca: IsCa, last_year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = is_ca;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verified(
        certificate: &CertificateDer<'_>,
        listed: &[&CertificateDer<'static>],
    ) -> Result<(), CertificateError> {
        let listed = listed.iter().map(|listed| (*listed).clone()).collect();
        let verifier = Listed::new(listed, Arc::new(aws_lc_rs::default_provider()));
        let name = ServerName::try_from("home.example").unwrap();
        // 2026.
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_780_000_000));
        match verifier.verify_server_cert(certificate, &[], &name, &[], now) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_server_whose_very_certificate_is_listed_is_trusted_in_its_name_and_time_alone() {
        let authority = || IsCa::Ca(BasicConstraints::Unconstrained);
        let home = made("home.example", authority(), 2040);
        let plain = made("home.example", IsCa::ExplicitNoCa, 2040);
        let (other, old) =
            (made("other.example", authority(), 2040), made("home.example", authority(), 2021));

        assert_eq!(verified(&home, &[&other, &home]), Ok(()));
        assert_eq!(verified(&plain, &[&plain]), Ok(()));
        assert!(verified(&home, &[&other]).is_err(), "it is not listed");
        assert!(matches!(
            verified(&other, &[&other]),
            Err(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
        ));
        assert!(matches!(
            verified(&old, &[&old]),
            Err(CertificateError::Expired | CertificateError::ExpiredContext { .. })
        ));
    }

    #[test]
    fn a_slip_in_the_named_certificates_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let params = CertificateParams::new(["home.example".to_owned()]).unwrap();
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        std::fs::write(at("good.pem"), &pem).unwrap();
        std::fs::write(at("empty.pem"), "").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        let instead = "the authorities that come with the program are trusted instead";

        assert!(certificate_problems(None, None).is_empty());
        assert!(certificate_problems(Some(&at("good.pem")), None).is_empty());
        let absent = certificate_problems(Some("/nonexistent.pem"), None);
        assert!(
            absent[0].starts_with("SSL_CERT_FILE=/nonexistent.pem: ") && absent[0].contains("No such file")
        );
        assert_eq!(absent[1..], [instead]);
        let empty = format!("SSL_CERT_FILE={}: no certificate in PEM form is there", at("empty.pem"));
        assert_eq!(certificate_problems(Some(&at("empty.pem")), None), [empty.as_str(), instead]);
        let folder = format!("SSL_CERT_DIR={}: no certificate in PEM form is there", at("folder"));
        assert_eq!(certificate_problems(Some(&at("good.pem")), Some(&at("folder"))), [folder]);
        assert!(certificate_problems(None, Some("/nonexistent")).len() > 1);
    }
}
