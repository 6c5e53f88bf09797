//! TLS: whom to believe, and what to show. All is read before privileges are given up.

use std::{path::Path, sync::Arc};

use aw_output::{Error, failed};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// `authorities`: instead of the system's. `own`: a certificate and its key.
pub fn config(
    authorities: Option<&Path>,
    own: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, Error> {
    let believed = match authorities {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(believed).0 == 0 {
        return Err(failed("no authority to believe: name one with --ca-file"));
    }
    let wrong = |error| Error::new("prepare TLS", error);
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let found = PrivateKeyDer::from_pem_file(key);
            let key = found.map_err(|error| unread(key, error))?;
            config.with_client_auth_cert(certificates(certificate)?, key).map_err(wrong)?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(all) if all.is_empty() => {
            Err(failed(format_args!("{}: there is no certificate in it", path.display())))
        }
        all => all.map_err(|error| unread(path, error)),
    }
}

fn unread(path: &Path, error: rustls::pki_types::pem::Error) -> Error {
    Error::new(format_args!("read {}", path.display()), error)
}
