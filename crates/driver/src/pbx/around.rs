//! What calls ask of their surroundings, for the pbx thread.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pbx::{MediaPort, Surroundings, control};

use super::sounds::Sounds;
use crate::voice::{VoicePort, Voices};

/// Ports and sounds of a node.
pub(crate) struct Around {
    /// The media threads; none while another node has the office and their sockets.
    pub(crate) voices: Option<Arc<Voices>>,
    pub(crate) sounds: Arc<Sounds>,
}

fn of_pbx(port: VoicePort) -> MediaPort {
    MediaPort {
        thread: port.thread,
        port: port.port,
        address: port.address,
    }
}

impl Surroundings for Around {
    fn take_port(&mut self, local: IpAddr, thread: Option<u16>) -> Option<MediaPort> {
        self.voices.as_ref()?.take(local, thread).map(of_pbx)
    }

    fn take_port_at(&mut self, address: SocketAddr) -> Option<MediaPort> {
        self.voices.as_ref()?.take_at(address).map(of_pbx)
    }

    fn give_back(&mut self, port: MediaPort) {
        if let Some(voices) = &self.voices {
            voices.give_back(VoicePort {
                thread: port.thread,
                port: port.port,
                address: port.address,
            });
        }
    }

    fn sound(&mut self, sound: &control::Sound, out: &mut Vec<voice::Sound>) -> bool {
        self.sounds.add(sound, out)
    }
}
