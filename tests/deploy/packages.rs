//! `.ci/need`, which installs what tests need: on somebody's machine, too.

use crate::container::Container;
use crate::shell::script;
use crate::{image, read};

/// A machine whose `apt-get` installs nothing, and tells what a package would have asked before it starts a service.
fn machine() -> Container {
    image::of("latest");
    let container = Container::new(image::DEBIAN).entrypoint(&["sh", "/need"]);
    let apt = "#!/bin/sh\n[ \"$1\" = install ] || exit 0\n/usr/sbin/policy-rc.d nginx start; echo \"$? $*\" >>/asked\n\
               [ ! -e /fails ]\n";
    script(&container.path("/need"), &read(".ci/need"));
    script(&container.path("/usr/local/bin/apt-get"), apt);
    container
}

#[test]
fn servers_are_installed_without_being_started_and_nothing_stays_behind() {
    for fails in [false, true] {
        let container = machine();
        if fails {
            std::fs::write(container.path("/fails"), "").unwrap();
        }

        let ended = container.run(&["/nowhere:nginx-light", "sh:dash"]);

        assert_eq!(ended.code, i32::from(fails), "{}", ended.printed);
        let asked = std::fs::read_to_string(container.path("/asked")).unwrap();
        // 101 is Debian's word for: not allowed to.
        assert!(asked.starts_with("101 install") && asked.trim_end().ends_with(" nginx-light"), "{asked}");
        assert!(!container.path("/usr/sbin/policy-rc.d").exists());
    }
}

#[test]
fn a_machine_s_own_word_about_services_stays() {
    let container = machine();
    let own = "#!/bin/sh\nexit 104\n";
    script(&container.path("/usr/sbin/policy-rc.d"), own);

    container.run(&["/nowhere:nginx-light"]).well();

    assert!(std::fs::read_to_string(container.path("/asked")).unwrap().starts_with("104 "));
    assert_eq!(std::fs::read_to_string(container.path("/usr/sbin/policy-rc.d")).unwrap(), own);
}
