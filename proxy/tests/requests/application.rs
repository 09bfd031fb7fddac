//! Applications as they are: where they listen, and when they close connections.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use crate::bed::Bed;

/// Reads one head; `None` at the end of the connection.
fn head(stream: &mut TcpStream) -> Option<String> {
    let (mut text, mut byte) = (Vec::new(), [0; 1]);
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn hello(stream: &mut TcpStream) {
    drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"));
}

#[test]
fn fault_14_an_application_on_the_ipv6_loopback_alone_is_reached() {
    // A machine without IPv6 has no such application.
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                while head(&mut stream).is_some() {
                    hello(&mut stream);
                }
            });
        }
    });
    let bed = Bed::start_before(port, "Http1", &[]);
    let reply = bed.get("/orders");
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
}
