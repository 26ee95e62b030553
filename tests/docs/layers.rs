//! Keeps the four lists of the layers alike: `src/pipeline.rs`, which is what runs, and those that explain it.

use crate::{between, read};

/// One stack of the pipeline, as its source says it.
struct Stack {
    /// The function that builds it.
    name: String,
    /// Its layers, outermost first.
    layers: Vec<Layer>,
}

impl Stack {
    fn names(&self, is_meant: impl Fn(&Layer) -> bool) -> Vec<String> {
        self.layers.iter().filter(|layer| is_meant(layer)).map(|layer| layer.name.clone()).collect()
    }
}

/// One layer of a stack.
struct Layer {
    /// Its module where that has nothing else to give, such as `lease` for `lease::LeaseKeyLayer`;
    /// else what its own name says, `panic` for `panic_layer`.
    name: String,
    /// Whether it comes from the crate of the layers, not from the program itself.
    is_imported: bool,
}

/// The stacks in the order of the source, which is that of a request.
fn pipeline() -> Vec<Stack> {
    let source = read("src/pipeline.rs");
    let code: String =
        source.lines().filter(|line| !line.trim().starts_with("//")).map(|l| format!("{l}\n")).collect();
    // Where each import is from, and what it brings.
    let imports: Vec<(&str, &str)> = between(&code, "use ", ";")
        .into_iter()
        .filter_map(|import| import.split_once("::{").or_else(|| import.rsplit_once("::")))
        .collect();
    let mut stacks: Vec<Stack> = Vec::new();
    let mut code = words(&code);
    while let Some(word) = code.next() {
        if word == "fn" {
            let name = code.next().expect("a function has a name").to_owned();
            stacks.push(Stack { name, layers: Vec::new() });
        } else if word == "layer" {
            let named = |word: &&str| word.ends_with("Layer") || word.ends_with("_layer");
            let layer = code.find(named).expect("a layer's name says that it is one");
            let import = imports.iter().find(|(_, items)| words(items).any(|item| item == layer));
            let is_imported = import.is_some_and(|(from, _)| from.starts_with("layers::"));
            let module = import.filter(|(_, items)| *items == layer).and_then(|(from, _)| words(from).last());
            let name = module.map_or_else(|| plain(layer), str::to_owned);
            let stack = stacks.last_mut().expect("layers stand in functions");
            stack.layers.push(Layer { name, is_imported });
        }
    }
    stacks.retain(|stack| !stack.layers.is_empty());
    stacks
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

/// `browser` for `BrowserLayer`.
fn plain(layer: &str) -> String {
    let mut name = String::new();
    for letter in layer.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name.trim_end_matches("_layer").to_owned()
}

/// The names in the picture of a request's way: what begins a line behind the stroke.
fn picture(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix('│'))
        .map(|line| line.trim_start_matches(['│', ' ']))
        .filter(|line| line.starts_with(|letter: char| letter.is_ascii_lowercase()))
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect()
}

/// The rows of a table of stacks: the name of each, and the layers in it, which stand in backticks.
fn table(text: &str) -> Vec<(String, Vec<String>)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, stack, layers, _] = cells[..] else { return None };
        layers.contains('`').then(|| (stack.to_owned(), words(layers).map(str::to_owned).collect()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn the_lists_of_the_layers_are_that_of_the_pipeline() {
    let pipeline = pipeline();
    let shared = |stack: &Stack| stack.names(|layer| layer.is_imported);
    let every = |stack: &Stack| stack.names(|_| true);
    let rows = |names: &dyn Fn(&Stack) -> Vec<String>| -> Vec<_> {
        pipeline.iter().map(|stack| (stack.name.clone(), names(stack))).collect()
    };

    let picture = picture(between(&read("README.md"), "## How a request travels\n\n```\n", "```")[0]);
    let contributing = table(between(&read("CONTRIBUTING.md"), "\n## Layers\n", "\n## ")[0]);
    let module = table(&read("layers/src/lib.rs"));

    assert!(rows(&every).iter().flat_map(|(_, names)| names).count() > 10, "src/pipeline.rs is read wrongly");
    assert_eq!(picture, pipeline.iter().flat_map(every).collect::<Vec<_>>(), "README.md, src/pipeline.rs");
    assert_eq!(contributing, rows(&every), "CONTRIBUTING.md, src/pipeline.rs");
    assert_eq!(module, rows(&shared), "layers/src/lib.rs, src/pipeline.rs");
}
