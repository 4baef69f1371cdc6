//! Which pod a process belongs to, from the text of `/proc/PID/cgroup` (cgroups(7)).
//!
//! The kubelet names a pod's folder after its UID, in one of two spellings (its `--cgroup-driver`), below any root:
//!
//! ```text
//! cgroupfs  …/kubepods/burstable/pod2c48913c-b29f-11e7-9350-020968147796/CONTAINER
//! systemd   …/kubepods-burstable-pod2c48913c_b29f_11e7_9350_020968147796.slice/cri-containerd-CONTAINER.scope
//! ```
//!
//! A static pod's folder carries the hash of its manifest instead. A reader in a cgroup namespace of its own sees the paths of other pods
//! relative to itself (`/../../podUID/CONTAINER`), so nothing above the pod's folder is relied upon.

/// The pod that a process belongs to, as the kubelet spells its UID (or a static pod's hash), if its cgroups name one.
pub fn pod_uid(cgroup_file: &str) -> Option<String> {
    cgroup_file.lines().find_map(|line| {
        // hierarchy-ID:controller-list:path, where the path may itself hold colons.
        let path = line.splitn(3, ':').nth(2)?;
        path.split('/').find_map(uid_of_component)
    })
}

/// The UID in one folder's name.
fn uid_of_component(name: &str) -> Option<String> {
    // A runtime told the wrong driver makes one folder of `SLICE:RUNTIME:CONTAINER`.
    let name = name.split(':').next()?;
    let uid = match name.strip_suffix(".slice") {
        // systemd escapes the dash, which separates parent slices, as an underscore.
        Some(slice) => {
            let after = match slice.rfind("-pod") {
                Some(at) => &slice[at + "-pod".len()..],
                None => slice.strip_prefix("pod")?,
            };
            after.replace('_', "-")
        }
        None => name.strip_prefix("pod")?.to_owned(),
    };
    is_uid(&uid).then_some(uid)
}

/// A UUID in its usual spelling, or the 32 hexadecimal digits of a static pod's hash.
fn is_uid(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = text.bytes().filter(|&byte| byte == b'-').count();
    digits == 32 && digits + dashes == text.len() && matches!(dashes, 0 | 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
    const HASH: &str = "0f57ac5e6a6cbba2d4c5ae0c0d8e1a67";

    #[test]
    fn every_form_the_kubelet_writes() {
        let id = "4f0e8a";
        let slice = UID.replace('-', "_");
        for (file, uid) in [
            (
                format!("12:memory:/kubepods/burstable/pod{UID}/{id}\n1:name=systemd:/user.slice\n"),
                UID,
            ),
            (format!("1:name=systemd:/\n0::/kubepods/pod{UID}/{id}\n"), UID),
            (format!("4:cpu:/rig/node-1/kubepods/besteffort/pod{UID}/{id}"), UID),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-{id}.scope"
                ),
                UID,
            ),
            (
                format!("0::/kubepods.slice/kubepods-pod{slice}.slice/crio-{id}.scope"),
                UID,
            ),
            (
                format!(
                    "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{slice}.slice/cri-containerd-{id}.scope"
                ),
                UID,
            ),
            (format!("0::/../../pod{UID}/{id}"), UID),
            (
                format!("0::/system.slice/containerd.service/kubepods-besteffort-pod{slice}.slice:cri-containerd:{id}"),
                UID,
            ),
            (format!("3:pids:/kubepods/burstable/pod{HASH}/{id}"), HASH),
            (
                format!("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{HASH}.slice/x.scope"),
                HASH,
            ),
            ("0::/system.slice/podman.service".to_owned(), ""),
            ("0::/pods/podinfo".to_owned(), ""),
            ("0::/".to_owned(), ""),
            (String::new(), ""),
        ] {
            assert_eq!(pod_uid(&file).unwrap_or_default(), uid, "{file}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}") {
            pod_uid(&text);
        }

        #[test]
        fn every_uid_is_found_in_both_spellings(uid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", root in "(/[a-z-]{1,9}){0,3}") {
            prop_assert_eq!(pod_uid(&format!("0::{root}/pod{uid}/c")), Some(uid.clone()));
            let slice = uid.replace('-', "_");
            prop_assert_eq!(pod_uid(&format!("0::{root}/kubepods-pod{slice}.slice/c")), Some(uid));
        }
    }
}
