//! Pages about the command line that are made of it: completions for shells, the manual.

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Arguments;

/// What this shell needs to complete the command line.
pub fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "uni-api", &mut text);
    // For bash clap_complete 4.6 calls a program with a dash in its name in two ways, and finds no command of it.
    String::from_utf8_lossy(&text).replace("uni__subcmd__api", "uni__api")
}

/// The manual page of a command, or one of all of them, in the form that `man` reads.
///
/// # Errors
/// There is no such command.
pub fn manual(command: Option<&str>) -> Result<String, String> {
    let mut program = Arguments::command();
    program.build();
    let Some(name) = command else { return Ok(whole(&program)) };
    let found = program.find_subcommand(name).ok_or_else(|| {
        let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
        format!("there is no command {name:?}; it is one of {}", names.join(", "))
    })?;
    let title = format!("uni-api-{}", found.get_name());
    let page = Man::new(found.clone()).title(title).source(source(&program)).manual("uni-api");
    Ok(text(|out| page.render(out)))
}

/// The page of the program, with a section for each command behind its own.
fn whole(program: &Command) -> String {
    let page = Man::new(program.clone()).source(source(program)).manual("uni-api");
    let mut told = text(|out| {
        page.render_title(out)?;
        page.render_name_section(out)?;
        page.render_synopsis_section(out)?;
        page.render_description_section(out)?;
        page.render_options_section(out)?;
        page.render_subcommands_section(out)
    });
    for command in program.get_subcommands() {
        // They have no page of their own beside this one.
        let name = command.get_name();
        told = told.replace(&format!("uni\\-api\\-{name}(1)"), &format!("uni\\-api {name}"));
    }
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        let page = Man::new(command.clone());
        let of_command = text(|out| {
            page.render_synopsis_section(out)?;
            page.render_description_section(out)?;
            page.render_options_section(out)
        });
        // One page has one title: what are sections of a command's own page are parts of one here.
        let heading = format!(".SH \"{}\"\n", command.get_name().to_uppercase());
        let preamble = |line: &&str| !line.starts_with(".ie ") && !line.starts_with(".el ");
        let parts: Vec<String> =
            of_command.lines().filter(preamble).map(|line| line.replacen(".SH ", ".SS ", 1)).collect();
        told.push_str(&heading);
        told.push_str(&parts.join("\n"));
        told.push('\n');
    }
    // Its lines are written as they are to be read.
    let rest = text(|out| page.render_extra_section(out));
    told + &rest.replace(".SH EXTRA\n", ".SH \"ENVIRONMENT, EXIT CODES, EXAMPLES\"\n.nf\n") + ".fi\n"
}

fn source(program: &Command) -> String {
    format!("uni-api {}", program.get_version().unwrap_or_default())
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    // Writing to memory cannot fail.
    let _ = write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let text = completions(shell);

            for command in Arguments::command().get_subcommands() {
                assert!(text.contains(command.get_name()), "{shell} does not know {}", command.get_name());
            }
            assert!(text.contains("paid") && text.contains("strict"), "{shell} knows no options");
        }
    }

    #[test]
    fn the_manual_has_every_command_and_every_option_of_it() {
        let page = manual(None).unwrap().replace("\\-", "-");

        assert!(page.starts_with(".ie") && page.contains(".TH uni-api 1"), "{page}");
        assert_eq!(page.matches(".TH").count(), 1);
        for command in Arguments::command().get_subcommands() {
            let (name, upper) = (command.get_name(), command.get_name().to_uppercase());
            assert!(
                page.contains(&format!(".SH \"{upper}\"")) || page.contains(&format!(".SH {upper}")),
                "{name}"
            );
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{option}")), "{name} --{option}");
            }
        }
        for told in ["CONFIG_URL", "Exit codes", "uni-api init", ".nf\nEnvironment"] {
            assert!(page.contains(told), "{told}");
        }
        assert!(!page.contains("(1)"), "there is no other page");
    }

    #[test]
    fn a_command_has_a_page_of_its_own() {
        let page = manual(Some("check")).unwrap().replace("\\-", "-");

        assert!(page.contains(".TH uni-api-check 1") && page.contains("--strict"), "{page}");
        assert!(!page.contains("--paid"));
        assert!(manual(Some("chekc")).unwrap_err().contains("check, explain"), "the names are listed");
    }
}
