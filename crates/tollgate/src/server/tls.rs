//! TLS for clients; certificate and key are read again when their files change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::TlsFiles;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Reloading {
    current: Arc<ArcSwap<ServerConfig>>,
}

impl Reloading {
    /// Errors when the files cannot be used now; later ones that cannot are logged and not taken.
    pub(super) fn start(
        files: &TlsFiles,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let current = Arc::new(ArcSwap::new(load(files)?));
        tasks.spawn(watch(files.clone(), Arc::clone(&current), stop));
        Ok(Self { current })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }
}

async fn watch(files: TlsFiles, current: Arc<ArcSwap<ServerConfig>>, stop: CancellationToken) {
    let mut seen = changed(&files);
    while tokio::time::timeout(POLL, stop.cancelled()).await.is_err() {
        let now = changed(&files);
        if now == seen {
            continue;
        }
        match load(&files) {
            Ok(config) => {
                current.store(config);
                seen = now;
                tracing::info!(cert = %files.cert.display(), "certificate read again");
            }
            // Perhaps only one of the two is replaced yet: the next look sees both.
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "the changed certificate is not usable, keeping the old one"
            ),
        }
    }
}

fn changed(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.cert, &files.key].map(|path: &PathBuf| std::fs::metadata(path).ok()?.modified().ok())
}

pub(super) fn load(files: &TlsFiles) -> anyhow::Result<Arc<ServerConfig>> {
    let cert = files.cert.display();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
        .with_context(|| format!("cannot read {cert}"))?
        .collect::<Result<_, _>>()
        .with_context(|| format!("{cert} is no PEM file"))?;
    if chain.is_empty() {
        bail!("{cert} holds no certificate");
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("cannot read a private key from {}", files.key.display()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("{cert} and {} do not go together", files.key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
