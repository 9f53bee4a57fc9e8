//! What rustls finds in ClientHellos. Standard input: hellos, each after its length in four bytes, highest first. Standard
//! output, a line for each: as openssl.c beside this folder says it.

use rustls::server::{Acceptor, ClientHello};
use std::io::{self, Read, Write};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn found(hello: &ClientHello<'_>) -> String {
    let name = hello.server_name().map_or("-".to_owned(), |name| hex(name.as_bytes()));
    let alpn = hello.alpn().map_or("-".to_owned(), |list| list.map(hex).collect::<Vec<_>>().join(","));
    format!("accepts\t{name}\t{alpn}")
}

fn answer(hello: &[u8]) -> String {
    let mut acceptor = Acceptor::default();
    let mut rest = hello;
    loop {
        match acceptor.accept() {
            Ok(Some(accepted)) => return found(&accepted.client_hello()),
            Ok(None) if rest.is_empty() => return "waits".to_owned(),
            Ok(None) => {
                if let Err(error) = acceptor.read_tls(&mut rest) {
                    return format!("refuses\t{error}");
                }
            }
            Err((error, _)) => return format!("refuses\t{}", error.to_string().replace('\n', " ")),
        }
    }
}

fn main() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let mut length = [0; 4];
    loop {
        match input.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let mut hello = vec![0; u32::from_be_bytes(length) as usize];
        input.read_exact(&mut hello)?;
        writeln!(output, "{}", answer(&hello))?;
    }
}
