//! Dials the address given first with rustls and offers the server name given second. It trusts no one: only its hello
//! is of interest.
use std::io::Write;
use std::sync::Arc;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = args[3..].iter().map(|p| p.as_bytes().to_vec()).collect();
    let name = args[2].clone().try_into().expect("server name");
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).expect("connection");
    let mut socket = std::net::TcpStream::connect(&args[1]).expect("connect");
    if let Err(error) = rustls::Stream::new(&mut connection, &mut socket).write_all(b"\n") {
        println!("{error}");
    }
}
