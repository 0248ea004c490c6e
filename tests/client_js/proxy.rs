//! A cable between a client and the server that can be pulled and plugged in again.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The cable. Its end for the client is `port`.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    cable: Arc<Mutex<Cable>>,
}

#[derive(Default)]
struct Cable {
    pulled: bool,
    sockets: Vec<TcpStream>,
}

impl Proxy {
    /// Passes on whatever comes to the server at `server`.
    pub(crate) fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let cable = Arc::new(Mutex::new(Cable::default()));
        let held = Arc::clone(&cable);
        std::thread::Builder::new()
            .spawn(move || {
                listener.incoming().flatten().for_each(|client| held.lock().expect(SOUND).plug(client, server))
            })
            .expect("a thread starts");
        Self { port, cable }
    }

    /// Every connection ends now, without a goodbye, and new ones at once.
    pub(crate) fn pull(&self) {
        let mut cable = self.cable.lock().expect(SOUND);
        cable.pulled = true;
        for socket in cable.sockets.drain(..) {
            // It may have ended by itself.
            let _ended = socket.shutdown(Shutdown::Both);
        }
    }

    /// New connections go through again.
    pub(crate) fn plug_in(&self) {
        self.cable.lock().expect(SOUND).pulled = false;
    }
}

impl Cable {
    fn plug(&mut self, client: TcpStream, server: u16) {
        if self.pulled {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to) = (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor"));
            std::thread::Builder::new().spawn(move || pass(from, to)).expect("a thread starts");
        }
        self.sockets.extend([client, server]);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ended = to.shutdown(Shutdown::Both);
}

const SOUND: &str = "nobody panics while he holds the cable";
