//! TLS to the broker: trusted authorities and the client certificate. Files are read before privileges are dropped.

use std::{path::Path, sync::Arc};

use aw_output::{Error, failed};
use aw_service::{FileKind, read_file};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Bytes of a file of certificates, at most; a system's list of authorities has some 200,000.
const MAX_PEM: u64 = 4 << 20;

/// `authorities`: a file that replaces the system's authorities. `own`: the client certificate and its key.
pub fn config(
    authorities: Option<&Path>,
    own: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, Error> {
    let trusted = match authorities {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(trusted).0 == 0 {
        return Err(failed(
            "prepare TLS: the system has no certificate authorities (install ca-certificates or set --ca-file)",
        ));
    }
    let failure = |error| Error::new("prepare TLS", error);
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(failure)?
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let found = PrivateKeyDer::from_pem_slice(&pem(key, FileKind::Secret)?);
            let key = found.map_err(|error| read_error(key, error))?;
            config.with_client_auth_cert(certificates(certificate)?, key).map_err(failure)?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = pem(path, FileKind::Settings)?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(all) if all.is_empty() => {
            Err(failed(format_args!("{}: no PEM certificate in this file", path.display())))
        }
        all => all.map_err(|error| read_error(path, error)),
    }
}

fn pem(path: &Path, kind: FileKind) -> Result<Vec<u8>, Error> {
    let read = read_file(path, kind, MAX_PEM);
    read.map_err(|error| Error::io(format_args!("read {}", path.display()), error))
}

fn read_error(path: &Path, error: rustls::pki_types::pem::Error) -> Error {
    Error::new(format_args!("read {}", path.display()), error)
}
