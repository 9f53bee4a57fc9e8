//! An HTTPS server behind a front door: axum over rustls, HTTP/1.1 and HTTP/2.
//!
//!     cargo run --release -- /run/app/door.sock cert.pem key.pem
//!
//! SIGTERM: takes what is on the way, finishes the requests that are open, and exits with 0.
use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use axum::{extract::Extension, routing::get, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use listener::Listener;
use tokio::{
    net::TcpStream,
    signal::unix::{signal, SignalKind},
    time::timeout,
};
use tokio_rustls::{
    rustls::{
        crypto::ring,
        pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer},
        ServerConfig,
    },
    TlsAcceptor,
};

mod listener;

const HANDSHAKE: Duration = Duration::from_secs(10);
const FINISH: Duration = Duration::from_secs(10);

type Failure = Box<dyn Error + Send + Sync>;

async fn hello(Extension(client): Extension<SocketAddr>) -> String {
    format!("hello from rust: {client}\n")
}

fn tls(certificate: &str, key: &str) -> Result<TlsAcceptor, Failure> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A connection's whole life.
async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    tls: TlsAcceptor,
    app: Router,
    watcher: Watcher,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE, tls.accept(stream)).await??;
    // By ALPN, not by the first bytes: a graceful end would cut off a client that has not sent any yet.
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = TowerToHyperService::new(app.layer(Extension(client)));
    let server = auto::Builder::new(TokioExecutor::new());
    let mut server = if is_http2 { server.http2_only() } else { server.http1_only() };
    server.http1().timer(TokioTimer::new());
    let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
    watcher.watch(connection.into_owned()).await
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, certificate, key] = &arguments[..] else {
        eprintln!("usage: {} SOCKET CERTIFICATE KEY", arguments[0]);
        std::process::exit(2);
    };
    let tls = tls(certificate, key)?;
    let app = Router::new().fallback(get(hello));
    let open = GracefulShutdown::new();
    let mut stop = signal(SignalKind::terminate())?;
    let mut listener = Listener::bind(path)?;
    println!("listening on {path}");
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    let served = serve(stream, client, tls.clone(), app.clone(), open.watcher());
                    // How a connection fails is its client's business.
                    tokio::spawn(async { served.await.ok() });
                }
                Err(_) => break, // drained
            },
            _ = stop.recv() => listener.drain(),
        }
    }
    timeout(FINISH, open.shutdown()).await.ok();
    Ok(())
}
