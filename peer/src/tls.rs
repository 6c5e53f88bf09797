//! TLS: trusted authorities, the client certificate, and what is checked of a server's certificate.

use std::{io, path::Path, sync::Arc};

use aw_service::{FileKind, cause, read_file};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

/// Bytes of a file of certificates or of a key, at most.
const MAX_PEM: u64 = 1 << 20;

/// Why the certificate of a server is not trusted, with what to do; `ca_file` is the option or key that names authorities. Other
/// texts stay as they are.
pub fn certificate_fault(why: &str, ca_file: &str) -> String {
    let has = |text: &str| why.to_ascii_lowercase().contains(text);
    let remedy = if has("unknownissuer") {
        format!("set {ca_file} to the certificate of its authority")
    } else if has("causedasendentity") {
        format!(
            "the server uses the certificate of an authority itself, as `openssl req -x509` makes it: make it again with -addext basicConstraints=CA:FALSE, and set {ca_file} to it"
        )
    } else if has("not valid for name") || has("notvalidforname") {
        "name the server as its certificate does, or have its name added to the certificate".into()
    } else if has("certificate expired") || has("certificate not valid yet") {
        "renew the certificate of the server, and check the clocks of both machines".into()
    } else {
        return why.into();
    };
    format!("{why} ({remedy})")
}

/// What is checked of a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsCheck {
    /// Its authority and its name.
    Identity,
    /// Its authority.
    Authority,
    /// Nothing: against passive eavesdroppers only.
    Nothing,
}

/// A configuration of TLS. `authorities`: a file in PEM with the authorities to trust; `None`: the system's, or those of
/// Mozilla if the system has none. `identity`: the client's certificate and its key.
pub fn client_config(
    authorities: Option<&Path>,
    identity: Option<(&Path, &Path)>,
    check: TlsCheck,
) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let roots = Arc::new(roots(authorities, check)?);
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = match check {
        TlsCheck::Identity => config.with_root_certificates(roots),
        TlsCheck::Authority | TlsCheck::Nothing => {
            let full = match check {
                TlsCheck::Authority => Some(
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                        .build()
                        .map_err(|error| error.to_string())?,
                ),
                _ => None,
            };
            let verifier = Arc::new(LenientVerifier { full, provider });
            config.dangerous().with_custom_certificate_verifier(verifier)
        }
    };
    let Some((certificate, key)) = identity else {
        return Ok(Arc::new(config.with_no_client_auth()));
    };
    let private = PrivateKeyDer::from_pem_slice(&read(key, FileKind::Secret)?)
        .map_err(|error| format!("read {}: {error}", key.display()))?;
    let config = config.with_client_auth_cert(certificates(certificate)?, private);
    config.map(Arc::new).map_err(|error| format!("read {}: {error}", certificate.display()))
}

fn roots(authorities: Option<&Path>, check: TlsCheck) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if check == TlsCheck::Nothing {
        return Ok(roots);
    }
    if let Some(path) = authorities {
        roots.add_parsable_certificates(certificates(path)?);
        return match roots.is_empty() {
            true => Err(format!("{}: no certificate of an authority", path.display())),
            false => Ok(roots),
        };
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    match CertificateDer::pem_slice_iter(&read(path, FileKind::Settings)?)
        .collect::<Result<Vec<_>, _>>()
    {
        Ok(all) if all.is_empty() => {
            Err(format!("{}: no PEM certificate in this file", path.display()))
        }
        all => all.map_err(|error| format!("read {}: {error}", path.display())),
    }
}

/// The content of a file of certificates, or of a key, which is secret.
pub fn read_pem(path: &Path, kind: FileKind) -> io::Result<Vec<u8>> {
    read_file(path, kind, MAX_PEM)
}

fn read(path: &Path, kind: FileKind) -> Result<Vec<u8>, String> {
    read_pem(path, kind).map_err(|error| format!("read {}: {}", path.display(), cause(&error)))
}

/// Checks less than the identity of a server.
#[derive(Debug)]
struct LenientVerifier {
    /// Checks the authority; `None`: nothing is checked.
    full: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for LenientVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(full) = &self.full else { return Ok(ServerCertVerified::assertion()) };
        match full.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.full {
            Some(full) => full.verify_tls12_signature(message, certificate, signature),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.full {
            Some(full) => full.verify_tls13_signature(message, certificate, signature),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_are_not_trusted() {
        for (why, remedy) in [
            (
                "invalid peer certificate: UnknownIssuer",
                "(set --ca-file to the certificate of its ",
            ),
            (
                "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
                "(the server uses the certificate of an authority itself, as `openssl req -x509` ",
            ),
            (
                "invalid peer certificate: certificate not valid for name \"x\"",
                "(name the server as its certificate does",
            ),
            ("invalid peer certificate: certificate expired: at 5", "(renew the certificate"),
        ] {
            let fault = certificate_fault(why, "--ca-file");
            assert!(fault.starts_with(why) && fault.contains(remedy), "{fault}");
        }
        assert_eq!(certificate_fault("connection refused", "ca_file"), "connection refused");
    }
}
