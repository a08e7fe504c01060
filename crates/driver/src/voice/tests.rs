use super::*;
use audio::g711::Law;
use audio::wav::{self, Written};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use voice::{Direction, Format, Negotiated, PlayId, Remote, Sound, Stream};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Who listens, and sends what it is told to the test.
struct Listener(Mutex<Sender<(u16, Event)>>);

impl VoiceSink for Listener {
    fn heard(&self, thread: u16, events: &mut Vec<Event>) {
        let sender = self.0.lock().expect("not poisoned");
        for event in events.drain(..) {
            sender.send((thread, event)).expect("the test listens");
        }
    }
}

fn start(first_port: u16, threads: usize) -> (Arc<Voices>, Receiver<(u16, Event)>) {
    let settings = VoiceSettings {
        first_port,
        last_port: first_port + 15,
        addresses: vec![LOOPBACK],
        freebind: false,
        advertised: None,
        threads,
        voice: voice::Settings::default(),
    };
    let (sender, receiver) = channel();
    let opened = open(&settings).expect("ports");
    let voices = opened.start(Arc::new(Listener(Mutex::new(sender))));
    (voices.expect("threads"), receiver)
}

fn phone() -> UdpSocket {
    let socket = UdpSocket::bind((LOOPBACK, 0)).expect("a port");
    let timeout = Some(Duration::from_secs(5));
    socket.set_read_timeout(timeout).expect("a timeout");
    socket
}

fn open_end(voices: &Voices, phone: &UdpSocket, end: EndId, port: VoicePort) {
    let address = phone.local_addr().expect("bound");
    let mut commands = vec![
        Command::Open {
            end,
            port: port.port,
            stream: Stream {
                ssrc: end.0 as u32,
                first_sequence: 1,
                first_timestamp: 0,
                started_at: voices.now(),
            },
        },
        Command::Remote {
            end,
            remote: Box::new(Remote {
                rtp: Some(address),
                rtcp: None,
                rtcp_mux: false,
                signalling: address.ip(),
                learned: None,
                negotiated: Negotiated::symmetric(Format::PCMU, Some(101)),
                direction: Direction::SendRecv,
            }),
        },
    ];
    voices.push(port.thread, &mut commands);
    assert!(commands.is_empty());
}

fn next(events: &Receiver<(u16, Event)>) -> (u16, Event) {
    events
        .recv_timeout(Duration::from_secs(5))
        .expect("something happens")
}

#[test]
fn a_prompt_reaches_a_phone_and_ports_come_back() {
    let (voices, events) = start(24_100, 2);
    let phone = phone();
    let port = voices.take(LOOPBACK, Some(1)).expect("a port");
    assert_eq!(port.thread, 1);
    open_end(&voices, &phone, EndId(7), port);
    let sound: Vec<i16> = vec![8_000; 8_000];
    let clip = voice::Clip::narrow(Arc::from(sound));
    let mut commands = vec![Command::Play {
        end: EndId(7),
        play: PlayId(1),
        sounds: vec![Sound::Clip(clip)],
        from_ms: 0,
        times: 1,
        barge_in: false,
    }];
    voices.push(1, &mut commands);
    let mut room = [0; 2_000];
    let mut loud = 0;
    while loud < 40 {
        let (length, source) = phone.recv_from(&mut room).expect("a packet");
        assert_eq!(source, port.address);
        let packet = rtp_payload(&room[..length]);
        loud += usize::from(
            packet
                .iter()
                .all(|code| Law::Mu.decode_sample(*code) > 7_000),
        );
    }
    let (thread, event) = next(&events);
    assert!(
        thread == 1
            && matches!(
                event,
                Event::Played {
                    completed: true,
                    ..
                }
            ),
        "{event:?}"
    );
    let view = voices.look(&[EndId(7)], Duration::from_secs(5));
    assert_eq!((view.threads.len(), view.ports_in_use), (2, 1));
    let reports: usize = view.threads.iter().map(|thread| thread.reports.len()).sum();
    assert_eq!(reports, 1);
    voices.push(1, &mut vec![Command::Close { end: EndId(7) }]);
    assert!(matches!(next(&events), (1, Event::Closed { .. })));
    let view = voices.look(&[], Duration::from_secs(5));
    assert_eq!((view.ports_in_use, view.ports_free), (0, 8));
    // Another node's call goes on at the port that it had.
    assert_eq!(voices.take_at(port.address), Some(port));
    assert_eq!(voices.take_at(port.address), None);
    voices.give_back(port);
    voices.stop();
}

fn rtp_payload(packet: &[u8]) -> &[u8] {
    &packet[12..]
}

#[test]
fn two_phones_hear_each_other_through_a_thread() {
    let (voices, _events) = start(24_200, 1);
    let (one, two) = (phone(), phone());
    let ports = [0, 0].map(|thread| voices.take(LOOPBACK, Some(thread)).expect("a port"));
    open_end(&voices, &one, EndId(1), ports[0]);
    open_end(&voices, &two, EndId(2), ports[1]);
    let (a, b) = (EndId(1), EndId(2));
    voices.push(0, &mut vec![Command::Connect { a, b }]);
    let mut room = [0; 2_000];
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    packet.resize(172, 0x42);
    for n in 0..100_u16 {
        packet[2..4].copy_from_slice(&n.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(n) * 160).to_be_bytes());
        one.send_to(&packet, ports[0].address).expect("sent");
        let (length, _) = two.recv_from(&mut room).expect("a packet");
        if room[12..length].iter().all(|byte| *byte == 0x42) {
            voices.stop();
            return;
        }
    }
    panic!("nothing came through");
}

#[test]
fn the_library_holds_the_sounds_of_folders_and_the_later_one_counts() {
    let folders = [tempfile::tempdir(), tempfile::tempdir()].map(|it| it.expect("a folder"));
    let file = |samples: usize, value: i16| {
        let mut data = Vec::new();
        wav::push(Written::Pcm16, &vec![value; samples], &mut data);
        let mut file = wav::header(Written::Pcm16, 8_000, data.len() as u32).to_vec();
        file.extend(data);
        file
    };
    let write = |folder: usize, name: &str, file: &[u8]| {
        let path = folders[folder].path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, file).expect("written");
    };
    write(0, "voicemail/greeting.wav", &file(8_000, 100));
    write(0, "beep.wav", &file(800, 100));
    write(0, "notes.txt", b"no sound");
    write(1, "voicemail/greeting.wav", &file(16_000, 100));
    let library = SoundLibrary::new();
    let own = [("built-in", file(4_000, 5)), ("beep", file(4_000, 5))];
    let own = || own.iter().map(|(name, file)| (*name, file.as_slice()));
    let errors = library.load(
        &[folders[0].path(), folders[1].path(), Path::new("/nowhere")],
        own(),
    );
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(library.names(), ["beep", "built-in", "voicemail/greeting"]);
    let ms = |name| library.clip(name).map(|clip| clip.ms());
    assert_eq!(ms("voicemail/greeting"), Some(2_000));
    assert_eq!(
        (ms("beep"), ms("built-in"), ms("none")),
        (Some(100), Some(500), None)
    );
    // A file of no use does not hide ours, and is told once.
    write(1, "beep.wav", b"RIFF is all of it");
    let errors = library.load(&[folders[0].path(), folders[1].path()], own());
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors
            .iter()
            .any(|error| error.to_string().contains("beep.wav"))
    );
    assert_eq!(
        (ms("beep"), ms("voicemail/greeting")),
        (Some(500), Some(2_000))
    );
    // What the operator takes away is ours again.
    assert!(library.load(&[], own()).is_empty());
    assert_eq!((ms("beep"), ms("voicemail/greeting")), (Some(500), None));
}
