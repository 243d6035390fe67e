//! TLS 1.3 by rustls, over ring: the certificate that was given, or one of our own.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Config, ServeError};
use crate::secrets::{lock, read_private, write_private};

const CERTIFICATE: &str = "certificate.pem";
const PRIVATE_KEY: &str = "private-key.pem";

/// The server's side of TLS. Version 1.3 alone: every client is ours.
pub(super) fn server_config(config: &Config) -> Result<Arc<ServerConfig>, ServeError> {
    let (chain, key) = match (&config.certificate, &config.private_key) {
        (Some(chain), Some(key)) => {
            let at = |path: &Path, error| format!("{}: {error}", path.display());
            let chain = CertificateDer::pem_file_iter(chain)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| at(chain, error))?;
            (chain, PrivateKeyDer::from_pem_file(key).map_err(|error| at(key, error))?)
        }
        _ => own(config)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// The certificate in the data folder, made if it isn't there. Its private key is as private as the server's setup.
fn own(config: &Config) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ServeError> {
    let _lock = lock(&config.data)?;
    let key_path = config.data.join(PRIVATE_KEY);
    // The key is written last: one without a certificate can't be, and a certificate without a key is made anew.
    let key = match read_private(&key_path)? {
        Some(key) => key,
        None => {
            let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(config.names.clone())?;
            write_private(&config.data, CERTIFICATE, cert.pem().as_bytes())?;
            let key = zeroize::Zeroizing::new(signing_key.serialize_pem().into_bytes());
            write_private(&config.data, PRIVATE_KEY, &key)?;
            tracing::warn!(names = ?config.names, "made a self-signed certificate: clients need certificate.pem");
            key
        }
    };
    let chain = CertificateDer::pem_file_iter(config.data.join(CERTIFICATE))?.collect::<Result<Vec<_>, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_slice(&key)?))
}
