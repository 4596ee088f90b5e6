//! The options of a server.

use interloop::clap;
use interloop_http::HttpOptions;

/// The options of a [`GrpcServer`](crate::GrpcServer), each prefixed with the task's name: `--grpc-port`. They are
/// those of an HTTP server, but the maximum length of a body has another meaning.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(mut_arg("max_body_size", |arg| arg.help(MAX_BODY_SIZE).long_help(None)))]
pub struct GrpcOptions {
    #[command(flatten)]
    pub(crate) http: HttpOptions,
}

const MAX_BODY_SIZE: &str = "End calls whose messages are longer than this all together, as they are sent, with \
    RESOURCE_EXHAUSTED. One message may be 4MiB long, unless its service's code says otherwise (default: any length)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_bodies_is_told_as_it_is() {
        let command = <GrpcOptions as clap::Args>::augment_args(clap::Command::new("grpc"));
        command.clone().debug_assert();
        let arg = command.get_arguments().find(|arg| arg.get_id() == "max_body_size").expect("it is there");
        assert_eq!(arg.get_help().map(ToString::to_string).as_deref(), Some(MAX_BODY_SIZE));
    }
}
