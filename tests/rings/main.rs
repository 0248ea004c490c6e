//! Real sockets on a real engine, without a shard: each pitfall of the socket form has its test. `THRONG_ENGINE` says which
//! engine; what both promise is the same.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod crowd;
mod interrupts;
mod owner;

use std::io::{ErrorKind, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use owner::Owner;
use throng::base::ConnKey;
use throng::shard::{CloseHow, Fate, Write};
use throng::wire::CloseReason;

/// A client of the owner that never blocks it.
fn connect(owner: &Owner) -> TcpStream {
    let client = TcpStream::connect(owner.address).unwrap();
    client.set_nonblocking(true).unwrap();
    client
}

/// The same with a small window, so that little fits between it and the owner.
fn connect_narrow(owner: &Owner) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(&owner.address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// Connects and waits until the owner has taken it in.
fn seated(owner: &mut Owner) -> (TcpStream, ConnKey) {
    let (client, opened) = (connect(owner), owner.opened);
    owner.run_until("the client is seated", |owner| owner.opened > opened);
    let conn = owner.newest();
    (client, conn)
}

/// Everything the peer gets until its connection ends, and how it ended.
fn read_to_end(owner: &mut Owner, client: &mut TcpStream) -> (Vec<u8>, Result<(), ErrorKind>) {
    let (mut all, mut end) = (Vec::new(), None);
    owner.run_until("the client's connection ends", |_| {
        let mut piece = [0; 4_096];
        match client.read(&mut piece) {
            Ok(0) => end = Some(Ok(())),
            Ok(n) => all.extend_from_slice(&piece[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => end = Some(Err(error.kind())),
        }
        end.is_some()
    });
    (all, end.unwrap())
}

fn read_exactly(owner: &mut Owner, client: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut all = vec![0; len];
    let mut filled = 0;
    owner.run_until("the client has its bytes", |_| {
        match client.read(&mut all[filled..]) {
            Ok(0) => panic!("ended after {filled} of {len} bytes"),
            Ok(n) => filled += n,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        filled == len
    });
    all
}

#[test]
fn a_full_ring_opens_the_next_and_a_full_server_says_so() {
    let mut owner = Owner::new(64, 4);
    let mut clients: Vec<TcpStream> = (0..256).map(|_| connect(&owner)).collect();
    owner.run_until("all are seated", |owner| owner.opened == 256);
    assert_eq!(owner.sockets.totals().rings, 4);
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(&(number as u64).to_be_bytes()).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(read_exactly(&mut owner, client, 8), (number as u64).to_be_bytes());
    }

    let mut refused: Vec<TcpStream> = (0..70).map(|_| connect(&owner)).collect();
    for client in &mut refused {
        let (answer, end) = read_to_end(&mut owner, client);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: "), "{answer}");
        assert_eq!(end, Ok(()));
    }
    assert_eq!(owner.door.totals().refused_full, 70);
    // The other 503 is counted apart.
    owner.refuses_as = CloseReason::HandshakesFull;
    let mut hasty: Vec<TcpStream> = (0..3).map(|_| connect(&owner)).collect();
    for client in &mut hasty {
        let (answer, _) = read_to_end(&mut owner, client);
        assert!(String::from_utf8(answer).unwrap().contains("handshakes_full"));
    }
    let totals = owner.door.totals();
    assert_eq!((totals.refused_full, totals.refused_handshakes, totals.refused_address), (70, 3, 0));

    drop(clients.remove(17));
    owner.run_until("the place is free again", |owner| owner.released.len() == 1);
    let (mut late, _) = seated(&mut owner);
    late.write_all(b"here").unwrap();
    assert_eq!(read_exactly(&mut owner, &mut late, 4), b"here");

    drop((clients, late));
    owner.run_until("all have left", |owner| owner.rows.is_empty());
    owner.sockets.drop_rings_above(1);
    let totals = owner.sockets.totals();
    assert_eq!((totals.rings, totals.sockets, totals.overflows, totals.stale), (1, 0, 0, 0));
}

#[test]
fn a_quiet_close_sends_everything_and_then_fin_though_the_poll_was_armed() {
    let mut owner = Owner::new(16, 1);
    for round in 0..200 {
        let (mut client, conn) = seated(&mut owner);
        client.write_all(b"last words").unwrap();
        owner.run_until("it is echoed", |owner| owner.rows[&conn].received.len() == 10);
        if round % 2 == 1 {
            // An event of the poll is under way, and unread bytes lie in the socket: neither may turn FIN into
            // silence (the poll would stay armed) or into RST (the peer could lose the echo).
            client.write_all(b"more that nobody will read").unwrap();
        }
        owner.close(conn, CloseHow::Quietly);
        assert_eq!(read_to_end(&mut owner, &mut client), (b"last words".to_vec(), Ok(())), "round {round}");
        owner.run_until("it is released", |owner| owner.released.last() == Some(&conn));
    }
    assert_eq!(owner.sockets.totals().sockets, 0);
}

#[test]
fn an_abrupt_close_resets() {
    let mut owner = Owner::new(16, 1);
    let (mut client, conn) = seated(&mut owner);
    owner.close(conn, CloseHow::Abruptly);
    assert_eq!(read_to_end(&mut owner, &mut client), (vec![], Err(ErrorKind::ConnectionReset)));
    owner.run_until("it is released", |owner| owner.released == [conn]);
}

#[test]
fn a_slot_used_again_never_answers_for_its_predecessor() {
    let mut owner = Owner::new(4, 1);
    let mut clients: Vec<(u64, TcpStream)> = Vec::new();
    for number in 0..4_000u64 {
        if clients.len() == 4 {
            // The oldest leaves in one of four ways, its bytes and its end perhaps still under way.
            let (_, mut oldest) = clients.remove(0);
            match number % 4 {
                0 => drop(oldest),
                1 => oldest.shutdown(Shutdown::Write).unwrap(),
                2 => {
                    let _ = oldest.write_all(&[0xff; 8]);
                }
                _ => {
                    let conn = *owner.rows.keys().next().unwrap();
                    owner.close(conn, if number % 8 == 3 { CloseHow::Abruptly } else { CloseHow::Quietly });
                }
            }
        }
        owner.run_until("a slot is free", |owner| owner.rows.len() < 4 || owner.rows.keys().next().is_none());
        let (mut client, conn) = seated(&mut owner);
        client.write_all(&number.to_be_bytes()).unwrap();
        owner.run_until("its first bytes are here", |owner| owner.rows[&conn].received.len() >= 8);
        assert_eq!(owner.rows[&conn].received[..8], number.to_be_bytes(), "its own words, not its predecessor's");
        assert_eq!(read_exactly(&mut owner, &mut client, 8), number.to_be_bytes(), "and its own echo");
        clients.push((number, client));
    }
    assert_eq!(owner.sockets.totals().stale, 0, "a slot is never given out while something of it is under way");
}

#[test]
fn short_sends_lose_and_double_nothing() {
    let mut owner = Owner::new(64, 1);
    let peers: Vec<UnixStream> = (0..32u16).map(|slot| tiny_pipe(&mut owner, ConnKey::new(0, slot, 1))).collect();
    let text: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let mut sent = vec![0usize; peers.len()];
    let mut room = vec![true; peers.len()];
    let mut got = vec![Vec::new(); peers.len()];
    let (mut stalls, mut partial, mut rounds) = (0, 0, 0);
    while got.iter().any(|got| got.len() < text.len()) {
        rounds += 1;
        assert!(rounds < 1_000_000, "bytes are missing that nobody will send");
        let ready = (0..peers.len()).filter(|&n| room[n] && sent[n] < text.len());
        let writes: Vec<Write> = ready
            .map(|n| Write {
                conn: ConnKey::new(0, n as u16, 1),
                start: sent[n] as u32,
                len: 9_973.min(text.len() - sent[n]) as u32,
            })
            .collect();
        let mut fates = Vec::new();
        owner.sockets.write(&text, &writes, &mut fates);
        for write in &writes {
            sent[usize::from(write.conn.slot())] += write.len as usize;
        }
        for (index, fate) in fates {
            let (write, Fate::Stalled { taken }) = (writes[index], fate) else { panic!("{fate:?}") };
            sent[usize::from(write.conn.slot())] -= (write.len - taken) as usize;
            room[usize::from(write.conn.slot())] = false;
            (stalls, partial) = (stalls + 1, partial + usize::from(taken > 0));
        }
        for (mut peer, got) in peers.iter().zip(&mut got) {
            let mut piece = [0; 3_000];
            if let Ok(n) = peer.read(&mut piece) {
                got.extend_from_slice(&piece[..n]);
            }
        }
        owner.sockets.submit();
        owner.sockets.turn();
        while let Some(event) = owner.sockets.take_event() {
            if let throng::runtime::sockets::SocketEvent::Writable { conn } = event {
                room[usize::from(conn.slot())] = true;
            }
        }
    }
    assert!(got.iter().all(|got| *got == text), "every byte once, in order");
    assert!(
        stalls > 1_000 && partial > 100,
        "the sockets were really too small: {stalls} stalls, {partial} in the middle"
    );
}

/// A socket pair with the smallest buffers the kernel gives; one end is adopted as `conn`.
fn tiny_pipe(owner: &mut Owner, conn: ConnKey) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    socket2::SockRef::from(&ours).set_send_buffer_size(4_096).unwrap();
    theirs.set_nonblocking(true).unwrap();
    owner.sockets.adopt(OwnedFd::from(ours), conn).map_err(|(_, error)| error).unwrap();
    theirs
}

#[test]
fn a_slow_tcp_reader_gets_every_byte_of_a_long_echo() {
    let mut owner = Owner::new(16, 1);
    owner.read_budget = 1;
    let mut clients: Vec<TcpStream> = (0..4).map(|_| connect_narrow(&owner)).collect();
    owner.run_until("all are seated", |owner| owner.opened == 4);
    let text: Vec<u8> = (0..6_000_000u32).map(|n| (n % 241) as u8).collect();
    let (mut sent, mut got) = ([0; 4], vec![Vec::new(); 4]);
    let mut stuck = [false; 4];
    owner.run_until("all echoes are back", |owner| {
        for (n, row) in owner.rows.values().enumerate() {
            stuck[n] |= row.stalled;
        }
        for (n, client) in clients.iter_mut().enumerate() {
            sent[n] += client.write(&text[sent[n]..]).unwrap_or(0);
            let mut piece = [0; 20_000];
            // Nobody reads before every echo is stuck: none could be done without.
            if stuck == [true; 4]
                && let Ok(read) = client.read(&mut piece)
            {
                got[n].extend_from_slice(&piece[..read]);
            }
        }
        got.iter().all(|got: &Vec<u8>| got.len() == text.len())
    });
    assert!(got.iter().all(|got| *got == text));
}

#[test]
fn a_reader_that_does_not_read_holds_little_of_the_kernels_memory() {
    let mut owner = Owner::new(16, 1);
    let _client = connect_narrow(&owner);
    owner.run_until("it is seated", |owner| owner.opened == 1);
    let (conn, text) = (owner.newest(), vec![b'x'; 16 << 10]);
    let (mut held, mut fates) = (0, Vec::new());
    while fates.is_empty() {
        owner.sockets.write(&text, &[Write { conn, start: 0, len: text.len() as u32 }], &mut fates);
        held += text.len();
    }
    assert!(matches!(fates[..], [(0, Fate::Stalled { .. })]));
    assert!(held < 600 << 10, "{held} bytes; the kernel alone would take 2.5 MiB and more");
}

#[test]
fn a_socket_handed_over_lives_on_elsewhere() {
    let mut owner = Owner::new(1, 1);
    for round in 0..50u8 {
        let (mut client, conn) = seated(&mut owner);
        client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        owner.run_until("the head is here", |owner| owner.rows[&conn].received.len() == 16);
        let mut elsewhere = TcpStream::from(owner.sockets.hand_over(conn).unwrap());
        owner.run_until("the slot is free", |owner| owner.released.last() == Some(&conn));
        assert_eq!(read_exactly(&mut owner, &mut client, 16), b"GET / HTTP/1.1\r\n", "what was echoed before");

        // The slot's next owner does not touch it, nor does the end of the first.
        let (other, next) = seated(&mut owner);
        assert_eq!((next.slot(), next.ring()), (conn.slot(), conn.ring()));
        client.write_all(b"go on").unwrap();
        elsewhere.set_nonblocking(false).unwrap();
        let mut heard = [0; 5];
        elsewhere.read_exact(&mut heard).unwrap();
        elsewhere.write_all(&[round; 3]).unwrap();
        assert_eq!(read_exactly(&mut owner, &mut client, 3), [round; 3]);
        assert!(owner.rows[&next].received.is_empty(), "the next owner hears nothing of it");
        drop(elsewhere);
        assert_eq!(read_to_end(&mut owner, &mut client), (vec![], Ok(())));
        drop(other);
        owner.run_until("the next has left too", |owner| owner.rows.is_empty());
    }
}

/// Longer than one read: it stands among those who have more, and its owner has heard enough.
#[test]
fn what_lies_behind_the_last_read_goes_with_a_socket_that_is_handed_over() {
    let sent: Vec<u8> = (0..20_000u32).map(|n| n as u8).collect();
    let mut owner = Owner::new(4, 1);
    let (mut client, conn) = seated(&mut owner);
    let row = owner.rows.get_mut(&conn).unwrap();
    (row.leaves_the_rest, row.stalled) = (true, true);
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // In one turn: as much as it likes, but not after it was told to leave it.
    owner.run_until("the head is here", |owner| !owner.rows[&conn].received.is_empty());
    let row = owner.rows.get_mut(&conn).unwrap();
    let mut all = std::mem::take(&mut row.received);
    assert!(all.len() <= 8 << 10, "read {} bytes", all.len());
    let mut elsewhere = TcpStream::from(owner.sockets.hand_over(conn).unwrap());
    owner.run_until("the slot is free", |owner| owner.released.last() == Some(&conn));
    elsewhere.set_nonblocking(false).unwrap();
    elsewhere.read_to_end(&mut all).unwrap();
    assert!(all == sent, "{} of {} bytes", all.len(), sent.len());
}

#[test]
fn closing_what_is_not_there_is_released_at_once_and_only_once() {
    let mut owner = Owner::new(4, 1);
    let (_client, conn) = seated(&mut owner);
    owner.sockets.close(conn, CloseHow::Quietly);
    owner.sockets.close(conn, CloseHow::Quietly);
    owner.run_until("it is released", |owner| owner.released == [conn]);
    for ring in [0, 3] {
        let stranger = ConnKey::new(ring, 2, 9);
        owner.sockets.close(stranger, CloseHow::Quietly);
        assert_eq!(
            owner.sockets.take_event(),
            Some(throng::runtime::sockets::SocketEvent::Released { conn: stranger })
        );
        assert!(owner.sockets.hand_over(stranger).is_err());
        let mut fates = Vec::new();
        owner.sockets.write(b"x", &[Write { conn: stranger, start: 0, len: 1 }], &mut fates);
        assert_eq!(fates, [(0, Fate::Broken)]);
    }
}
