//! An HTTPS server behind a front door: axum over rustls, HTTP/1.1 and HTTP/2.
//!
//!     cargo run --release -- /run/app/door.sock cert.pem key.pem
//!
//! SIGTERM: takes what is on the way, finishes the requests that are open, and exits with 0.
use std::{error::Error, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    extract::{Extension, Request},
    middleware::map_request,
    routing::get,
    Router,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use listener::Listener;
use tokio::{
    net::TcpStream,
    signal::unix::{signal, SignalKind},
    sync::{watch, Notify},
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

/// A connection's whole life. `end` changes when the program is to end, and has a receiver as long as this lasts.
async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    tls: TlsAcceptor,
    app: Router,
    mut end: watch::Receiver<()>,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE, tls.accept(stream)).await??;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let asked = Arc::new(Notify::new());
    let asks = asked.clone();
    let app = app.layer(map_request(move |mut request: Request| {
        asks.notify_one();
        request.extensions_mut().insert(client);
        async { request }
    }));
    let server = auto::Builder::new(TokioExecutor::new());
    let mut server = if is_http2 { server.http2_only() } else { server.http1_only() };
    server.http1().timer(TokioTimer::new());
    let service = TowerToHyperService::new(app);
    let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // hyper's graceful end cuts off a client that has not asked for anything yet: its first request is waited for.
    let asked_and_ending = async {
        end.changed().await.ok();
        asked.notified().await;
    };
    tokio::select! {
        result = connection.as_mut() => return result,
        () = asked_and_ending => connection.as_mut().graceful_shutdown(),
    }
    connection.await
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
    let (end, ending) = watch::channel(());
    let mut stop = signal(SignalKind::terminate())?;
    let mut listener = Listener::bind(path)?;
    println!("listening on {path}");
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    let served = serve(stream, client, tls.clone(), app.clone(), ending.clone());
                    // How a connection fails is its client's business.
                    tokio::spawn(async { served.await.ok() });
                }
                Err(_) => break, // drained
            },
            _ = stop.recv() => listener.drain(),
        }
    }
    drop(ending);
    end.send_replace(());
    timeout(FINISH, end.closed()).await.ok();
    Ok(())
}
