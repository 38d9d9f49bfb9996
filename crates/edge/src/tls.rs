//! TLS in both directions, with one explicit cryptography provider (aws-lc-rs).
//!
//! TLS 1.2 and 1.3 only, no early data (it can be replayed, RFC 8446 section 8), tickets whose keys
//! rotate. A certificate is replaced without dropping a connection: [`ServerTls::reload`].

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{self, TlsConfig};
use portcullis_core::finding::Finding;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The gate's certificate and TLS settings; shared by all lanes.
#[derive(Debug)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    current: Arc<Current>,
}

/// The certificate that new handshakes get.
struct Current(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(..)")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

impl ServerTls {
    /// Reads `[listen.tls]`.
    pub fn load(config: &TlsConfig) -> Result<ServerTls, Vec<Finding>> {
        let key = certified_key(config)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(key))));
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| finding("listen.tls", &error))?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Current>::clone(&current);
        let mut server = builder.with_no_client_auth().with_cert_resolver(resolver);
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.max_early_data_size = 0;
        server.ticketer =
            aws_lc_rs::Ticketer::new().map_err(|error| finding("listen.tls", &error))?;
        Ok(ServerTls {
            config: Arc::new(server),
            current,
        })
    }

    /// Reads the files again; new handshakes get the new certificate. On error nothing changes.
    pub fn reload(&self, config: &TlsConfig) -> Result<(), Vec<Finding>> {
        let key = Arc::new(certified_key(config)?);
        *self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner) = key;
        Ok(())
    }
}

fn finding(key: &str, error: &dyn fmt::Display) -> Vec<Finding> {
    vec![config::finding(key, error.to_string())]
}

fn certified_key(config: &TlsConfig) -> Result<CertifiedKey, Vec<Finding>> {
    let chain = read_certificates(&config.cert, "listen.tls.cert");
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| {
        let path = config.key.display();
        config::finding(
            "listen.tls.key",
            format!("cannot read a private key from `{path}`: {error}"),
        )
    });
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let signer = aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|error| finding("listen.tls.key", &format!("cannot be used: {error}")))?;
    let certified = CertifiedKey::new(chain, signer);
    certified.keys_match().map_err(|error| {
        finding(
            "listen.tls.key",
            &format!("does not belong to the certificate in `listen.tls.cert`: {error}"),
        )
    })?;
    Ok(certified)
}

pub(crate) fn read_certificates(
    path: &Path,
    key: &str,
) -> Result<Vec<CertificateDer<'static>>, Finding> {
    let refuse = |message: &dyn fmt::Display| {
        let path = path.display();
        config::finding(
            key,
            format!("cannot read certificates from `{path}`: {message}"),
        )
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| refuse(&error))?;
    if chain.is_empty() {
        return Err(refuse(&"there is none in the file"));
    }
    Ok(chain)
}

/// TLS towards an upstream, or whoever else is asked: `ca` alone is believed, or the operating system's roots.
pub fn client_config(
    ca: Option<&Path>,
    http2: bool,
    key: &str,
) -> Result<Arc<ClientConfig>, Finding> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in read_certificates(path, key)? {
                roots
                    .add(certificate)
                    .map_err(|error| config::finding(key, error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(config::finding(
            key,
            "there is no certificate authority to believe: name a file here",
        ));
    }
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| config::finding(key, error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![if http2 {
        b"h2".to_vec()
    } else {
        b"http/1.1".to_vec()
    }];
    Ok(Arc::new(client))
}
