//! The hosts of a laboratory: namespaces on one bridge, one behind a translator of addresses, and the etcds.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Child;

use super::{Plan, address, port};
use crate::{Error, Host};

/// The host behind the translator, and the translator's address there.
pub(crate) const BEHIND: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);

/// A host on the bridge.
pub(super) fn join(bridge: &Host, name: &str, last: u8) -> Result<Host, Error> {
    let host = Host::new()?;
    let port = port(name);
    bridge.ip(&format!(
        "link add {port} type veth peer name eth0 address 02:00:00:00:00:{last:02x} netns {}\n\
         link set {port} master lan0\nlink set {port} up\n",
        host.path()
    ))?;
    host.ip(&format!(
        "addr add {}/24 dev eth0\nlink set eth0 up\n",
        address(last)
    ))?;
    Ok(host)
}

/// A translator of addresses on the bridge, and a host behind it.
pub(super) fn behind(bridge: &Host, last: u8) -> Result<[Host; 2], Error> {
    let (router, home) = (join(bridge, "router", last)?, Host::new()?);
    router.ip(&format!(
        "link add home type veth peer name eth0 netns {}\naddr add {GATEWAY}/24 dev home\nlink set home up\n",
        home.path()
    ))?;
    home.ip(&format!(
        "addr add {BEHIND}/24 dev eth0\nlink set eth0 up\nroute add default via {GATEWAY}\n"
    ))?;
    let forwarding = "/proc/sys/net/ipv4/ip_forward";
    let written = router.within(|| fs::write(forwarding, "1"));
    written.map_err(|error| Error::File {
        path: forwarding.into(),
        error,
    })?;
    let rules = "add table ip nat\n\
                 add chain ip nat out { type nat hook postrouting priority 100 ; }\n\
                 add rule ip nat out oifname \"eth0\" masquerade\n";
    router.run("nft", &["-f", "-"], rules)?;
    Ok([router, home])
}

/// Starts one etcd on each host.
pub(super) fn etcd(plan: &Plan, hosts: &[Host]) -> Result<Vec<(Ipv4Addr, Child)>, Error> {
    let folder = &plan.folder;
    if !plan.is_on_disk {
        // Seen by this laboratory only, and gone with it.
        let disks = folder.join("disks");
        make(&disks)?;
        let at = disks.display().to_string();
        Host::own().run("mount", &["-t", "tmpfs", "etcds", &at], "")?;
    }
    let at = |number: usize| address(number as u8 + 11);
    let all: Vec<_> = (0..hosts.len())
        .map(|number| format!("etcd{}=http://{}:2380", number + 1, at(number)))
        .collect();
    let mut started = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let name = format!("etcd{}", number + 1);
        let own = folder.join(&name);
        make(&own)?;
        let data = match plan.is_on_disk {
            true => "data".to_owned(),
            false => format!("../disks/{name}"),
        };
        let (client, peer) = (
            format!("http://{}:2379", at(number)),
            format!("http://{}:2380", at(number)),
        );
        let arguments = [
            "--name",
            &name,
            "--data-dir",
            &data,
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &all.join(","),
            "--initial-cluster-state",
            "new",
        ];
        let process = host.start_first(Path::new("etcd"), &arguments, &own)?;
        started.push((at(number), process));
    }
    Ok(started)
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir(folder).map_err(|error| Error::File {
        path: folder.to_owned(),
        error,
    })
}
