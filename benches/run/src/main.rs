//! The other parties of a benchmark run: `upstream`, `proxy` and `load`.

mod load;
mod proxy;
mod upstream;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // Upstream and load must cost as little as they can; the proxy is the usual program.
    let mut light = tokio::runtime::Builder::new_current_thread();
    let mut usual = tokio::runtime::Builder::new_multi_thread();
    match words[..] {
        ["upstream", listen] => light.enable_all().build()?.block_on(upstream::serve(listen)),
        ["proxy", listen, to] => usual.enable_all().build()?.block_on(proxy::serve(listen, to)),
        ["load", ref options @ ..] => light.enable_all().build()?.block_on(load::run(options)),
        _ => Err("usage: bench-peers upstream LISTEN | proxy LISTEN TO | load NAME=VALUE...".into()),
    }
}
